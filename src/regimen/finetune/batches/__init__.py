"""Tokens as batches: their order, padding, packing, and pairs with a shared prompt."""
