"""Tasks: model, data and yardstick; each file is one, found by its name only."""
