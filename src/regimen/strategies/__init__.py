"""Strategies, by family; each file is one, found by its name only."""
