"""What is printed, kept in files: by a run in its log.txt, by the processes of a server in a file of theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

PRINTED = "printed.txt"
"""What the processes of a server print: libraries like to say things."""


@contextmanager
def printed_to(path: Path | None) -> Iterator[IO[bytes] | None]:
    """The end of a file, as the standard error of a process that is being started; None means our own."""
    if path is None:
        yield None
        return
    with path.open("ab") as file:
        yield file


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """What is printed while training goes to `log.txt`, too."""
    log, before = path.open("a", encoding="utf-8"), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = _Both(before[0], log), _Both(before[1], log)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        with suppress(OSError):
            log.close()


class _Both:
    """A text stream that also writes to the log; everything else is the terminal's."""

    def __init__(self, terminal: IO[str], log: IO[str]) -> None:
        self._terminal, self._log = terminal, log

    def write(self, text: str) -> int:
        with suppress(OSError):  # a full disk stops a run where it saves, not where it prints
            self._log.write(text)
            self._log.flush()
        return self._terminal.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._terminal, name)
