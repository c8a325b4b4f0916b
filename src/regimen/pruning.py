"""Frees the disk of old checkpoints without reading their tensors."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from regimen.errors import Problem, Refused
from regimen.records.writer import is_locked
from regimen.walking import bytes_below


def prune_run(folder: Path, keep: int, *, dry_run: bool = False) -> list[tuple[Path, int]]:
    """Deletes all but the newest `keep` whole checkpoints of a run and the best; returns what went, with its bytes.

    Torn and damaged ones do not count as kept. Raises `Refused` for a run that is being trained.
    """
    if is_locked(folder):
        raise Refused(Problem(str(folder), "is being trained.", "Stop it first, or set checkpoint.keep."))
    paths = sorted(
        (folder / "checkpoints").glob("step-*"),
        key=lambda path: int(path.name.removeprefix("step-").partition(".")[0]),
    )
    whole = [path for path in paths if path.suffix != ".tmp" and is_whole(path)]
    kept = {*whole[-max(1, keep) :], *[path for path in whole if _was_best(path)][-1:]}
    gone = [(path, bytes_below(path)) for path in paths if path not in kept]
    if not dry_run:
        for path, _ in gone:
            shutil.rmtree(path)
    return gone


def is_whole(path: Path) -> bool:
    """Whether every file of a checkpoint has the size and hash that its manifest says."""
    try:
        files = json.loads((path / "manifest.json").read_bytes())["files"]
        return all(_matches(path / name, expected) for name, expected in files.items())
    except (OSError, ValueError, KeyError):
        return False


def _was_best(path: Path) -> bool:
    return bool(json.loads((path / "manifest.json").read_bytes()).get("best", False))


def _matches(path: Path, expected: dict[str, object]) -> bool:
    with path.open("rb") as file:
        return (
            path.stat().st_size == expected["bytes"]
            and hashlib.file_digest(file, "sha256").hexdigest() == expected["sha256"]
        )
