"""The queue of runs: order and leases in SQLite, a process a run, and a keeper that starts what is next.

A run is a folder, written before its row; the rows can be made again from the folders. Nothing here speaks HTTP.
"""
