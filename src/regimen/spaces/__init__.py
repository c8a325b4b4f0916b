"""Search spaces; each file is one, found by its name only."""
