"""Writes a run's JSON into DeepOBS' tree: strict, whole or not at all, over nobody else's file."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

from regimen.errors import Problem, RecordError
from regimen.records.writer import replace_file

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK)


def write_output(output: Mapping[str, object], folder: str | Path, name: str) -> Path:
    """Writes `output` as `folder/name.json` and returns the path.

    Where another run of the same second has that name, `-2` (and so on) is added. Raises `RecordError` for a number
    that JSON has not (NaN, infinity): curves end before them; `DiskFull`.
    """
    folder = Path(folder)
    name = name.removesuffix(".json")
    try:
        text = json.dumps(output, indent=4, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError) as error:
        where = str(folder / f"{name}.json")
        fix = "Let curves end where a run diverged, and give numbers, texts, lists and dicts only."
        raise RecordError(Problem(where, f"cannot be written as JSON: {error}.", fix)) from error
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{name}.{os.getpid()}.part"
    try:
        replace_file(beside, f"{text}\n".encode())
        return _placed(beside, folder, name)
    finally:
        beside.unlink(missing_ok=True)


def _placed(beside: Path, folder: Path, name: str) -> Path:
    """Gives a whole file its name, or the next one that is free."""
    for attempt in range(1, 10_000):
        path = folder / (f"{name}.json" if attempt == 1 else f"{name}-{attempt}.json")
        try:
            os.link(beside, path)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():  # a file system without hard links: between this look and the renaming is a gap
                continue
            beside.replace(path)
        return path
    raise RecordError(Problem(str(folder / name), "has 10,000 runs of one second.", "Choose another output_dir."))
