"""Losses on just the tokens that are trained, and the proof that a shortcut changes no number."""
