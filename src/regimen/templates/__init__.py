"""Texts of the files that `regimen new` writes."""
