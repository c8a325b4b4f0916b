"""Starts the process of a run: forked from a warm one, or afresh where the run needs a GPU.

    starter = Starter()
    worker = starter.start(queue.path, row)        comes back at once
    worker.code()                                  None while it may be running

Nothing here has to live for a run to go on: workers lead process groups of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from regimen.logfile import printed_to
from regimen.queue.store import Row

PROCESS_LOG = "process.txt"
"""In the run's folder: what its processes printed outside of training."""
UNKNOWN = -1000
"""In place of an exit code: who could have known it is gone."""
_IDLE_S = 600.0
"""Without a run for so long, the warm process is ended: it holds some hundred megabytes."""


class Worker:
    """One process that was started here."""

    def __init__(self, code: Callable[[], int | None]) -> None:
        self._code = code

    def code(self) -> int | None:
        """How it ended: its exit code, or the signal as a negative number; None while it runs. `UNKNOWN` where nobody
        can say that, nor whether it has ended.
        """
        return self._code()


class Starter:
    """Starts its warm process with the first run that can be forked from it. `warm=False`: every run starts afresh.

    What the warm process itself prints goes to the end of the file `log`; unset: to our own standard error.
    """

    def __init__(self, *, warm: bool = True, log: Path | None = None) -> None:
        self._warm, self._log = warm, log
        self._forker: _Forker | None = None
        self._used_at = time.monotonic()

    def start(self, database: Path, row: Row) -> Worker:
        """Starts a worker for a run that was taken. Raises `OSError` where no process can be made."""
        self._used_at = time.monotonic()
        if self._warm and not row.device.startswith("cuda"):  # its libraries may not be forked once they are in use
            if self._forker is None or not self._forker.is_there:
                self._forker = _Forker(self._log)
            return self._forker.start(database, row)
        words = ["-m", "regimen.queue.worker", str(database), row.id, str(row.token)]
        with (row.folder / PROCESS_LOG).open("ab") as log:
            return Worker(_process(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log).poll)

    def rest(self, *, is_idle: bool) -> None:
        """Ends the warm process if nothing has run for long."""
        if not is_idle:
            self._used_at = time.monotonic()
        elif time.monotonic() - self._used_at > _IDLE_S:
            self.close()

    def close(self) -> None:
        """Ends the warm process; its workers go on."""
        forker, self._forker = self._forker, None
        if forker is not None:
            forker.close()


class _Forker:
    """The other end of `forking`, with what it has said."""

    def __init__(self, log: Path | None) -> None:
        with printed_to(log) as printed:
            self._process = _process(
                ["-m", "regimen.queue.forking"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed
            )
        self._codes: dict[int, int] = {}
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    @property
    def is_there(self) -> bool:
        return self._process.poll() is None

    def start(self, database: Path, row: Row) -> Worker:
        request = {"database": str(database), "id": row.id, "token": row.token, "log": str(row.folder / PROCESS_LOG)}
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `_code` finds it gone
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()
        return Worker(lambda: self._code(row.token))

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._listening.join()

    def _code(self, token: int) -> int | None:
        """As it said; it may be gone itself."""
        return self._codes.get(token, None if self._listening.is_alive() else UNKNOWN)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            self._codes[said["token"]] = said["code"]
        self._process.stdout.close()


def _process(words: list[str], **pipes: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-P", *words], start_new_session=True, **pipes)
