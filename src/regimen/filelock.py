"""One process at a time: a lock on a file that holds its holder's name. The kernel drops it with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


class Held(Exception):
    """Another process has the lock; `str()` is its name."""


def acquire(path: Path) -> IO[str]:
    """The lock, until it is closed. Raises `Held` where another process has it; one that only looks is waited for."""
    lock = path.open("a+")
    try:
        _lock(lock)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise Held(holder) from None
    lock.truncate(0)
    os.write(lock.fileno(), f"process {os.getpid()} on {os.uname().nodename}".encode())
    return lock


def _lock(lock: IO[str]) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # raises too, unless the other only looks
            fcntl.flock(lock, fcntl.LOCK_UN)
        else:
            return
