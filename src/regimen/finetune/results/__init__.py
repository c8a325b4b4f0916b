"""What a run leaves: the saved model, the proof that it is the trained one, its card."""
