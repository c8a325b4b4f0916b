"""Writes an Arrow file beside its name and renames it when it is whole, so that a reader never meets half of one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from regimen.errors import DiskFull, Problem


@contextmanager
def arrow_file(path: Path) -> Iterator[pa.NativeFile]:
    """A sink whose bytes become the file `path` at the end, unless the block raises; safe among processes.

    Raises `DiskFull` when there is no space left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with pa.OSFile(str(partial), "wb") as sink:
            yield sink
        partial.replace(path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise DiskFull(Problem(str(path.parent), "no space left for the tokens.", "Free some space.")) from None
    finally:
        partial.unlink(missing_ok=True)
