"""Architectures of the test problems, one family a file; what they are trained on is said by the problems."""
