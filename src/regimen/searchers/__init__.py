"""Searchers; each file is one, found by its name only."""
