"""Evaluators: how good architectures are, by a supernet, by training each, or by a proxy that needs no training."""
