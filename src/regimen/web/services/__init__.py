"""What page, API and ModelForge's routes all call: functions on the home, its queue and its helper. No HTTP in them."""
