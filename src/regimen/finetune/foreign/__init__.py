"""Trainers and loops that are not ours: transformers, TRL, and the user's own."""
