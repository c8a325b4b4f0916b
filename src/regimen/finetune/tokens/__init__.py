"""Rows as tokens: templates, what is trained, and what became of each row."""
