"""Answers of a model: generating them, judging them, showing them."""
