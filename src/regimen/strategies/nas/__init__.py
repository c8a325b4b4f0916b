"""Samplers: strategies that train supernets."""
