"""Tuning methods: which parameters move; each file is one, found by its name only."""
