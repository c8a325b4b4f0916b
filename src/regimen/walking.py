"""All files below a folder that somebody else may be changing: a run that saves renames and deletes folders."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def files_below(folder: Path, name: str = "") -> list[Path]:
    """In the order of their paths, links to files among them; of one name, if that is given.

    What vanishes meanwhile is passed over, where `Path.rglob` raises `FileNotFoundError`.
    """
    walked = os.walk(folder)
    return sorted(Path(here) / each for here, _, names in walked for each in names if name in ("", each))


def bytes_below(folder: Path) -> int:
    """Of all files below a folder, or of a file."""
    total = 0
    for path in [folder] if folder.is_file() else files_below(folder):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
