"""Rows: files of any format, their layouts, and what is wrong with them."""
