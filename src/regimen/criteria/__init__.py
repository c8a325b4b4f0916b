"""Criteria of classification; each file is one, found by its name only."""
