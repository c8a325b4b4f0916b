"""Run folders: the one writer, the reader, and an index that can be made again at any time."""
