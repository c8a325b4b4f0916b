"""Blocks that search spaces are made of."""
