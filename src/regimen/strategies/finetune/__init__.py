"""Strategies that fine-tune language models."""
