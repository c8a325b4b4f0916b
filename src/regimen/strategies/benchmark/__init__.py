"""Runners: strategies that train test problems."""
