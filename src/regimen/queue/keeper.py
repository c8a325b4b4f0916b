"""Keeps the queue going: starts what is next, finds processes that died, makes a stop firm that is not heeded.

    keeper = Keeper(Queue(path))
    keeper.tick()        every half second or so; what it finds, it finds in the files and the rows alone

Killing the keeper loses nothing: runs are processes of their own, and the next keeper finds them again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from regimen.errors import RecordError
from regimen.queue.outcome import end
from regimen.queue.store import Queue, Row
from regimen.records.index import run_folders
from regimen.records.reader import Record
from regimen.records.writer import FINAL, is_locked

MOST_ATTEMPTS = 3
"""Processes that are started for one run before it is called lost."""
GRACE_S = 60.0
"""From being asked to stop to SIGTERM; as long again, and SIGKILL follows."""


class Keeper:
    """Of one queue. `slots`: runs at once on one device."""

    def __init__(self, queue: Queue, *, slots: int = 1, grace_s: float = GRACE_S) -> None:
        self.queue, self.slots, self.grace_s = queue, slots, grace_s
        self._started: list[subprocess.Popen[bytes]] = []

    def find_again(self, runs: Path) -> None:
        """Makes rows for queued and interrupted runs below `runs` that have none, as after a lost database."""
        known = {row.id for row in self.queue.rows()}
        for folder in sorted(run_folders(runs), key=lambda path: path.name):
            record = Record(folder)
            with suppress(RecordError, KeyError):
                if record.id not in known and record.state.get("queued") and record.state["status"] not in FINAL:
                    self.queue.add(record.id, folder, record.state["queued"])

    def tick(self) -> None:
        """One look at everything."""
        self._started = [process for process in self._started if process.poll() is None]  # no zombies
        for row in self.queue.rows("running"):
            if self._is_dead(row):
                self._settle(row)
            elif row.stop_asked_at is not None and row.pid:
                self._press(row)
        while (taken := self.queue.take(self.slots)) is not None:
            self._start(taken)

    # ------------------------------------------------------------------ processes

    def _start(self, row: Row) -> None:
        """A process group of its own, with nothing of ours. What it prints before and after training is in a file."""
        with (row.folder / "process.txt").open("ab") as log:
            self._started.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "regimen.queue.worker", str(self.queue.path), row.id, str(row.token)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _is_dead(self, row: Row) -> bool:
        if is_locked(row.folder):
            return False
        here = row.host == socket.gethostname()
        return row.lease_until < time.time() or (here and row.pid != 0 and not _lives(row.pid))

    def _settle(self, row: Row) -> None:
        """What becomes of a run whose process is gone."""
        record = Record(row.folder)
        status = record.state.get("status")
        if status in FINAL:
            self.queue.ended(row.id, row.token)
            if status == "failed" and not self.queue.goes_on_after_failure:
                self.queue.paused = True
        elif row.stop_asked_at is not None:
            end(row.folder, "stopped", "did not save when it was asked to stop, and was ended.")
            self.queue.ended(row.id, row.token)
        elif row.attempts >= MOST_ATTEMPTS:
            text = f"its process died {row.attempts} times without a word, as one that is killed for memory does."
            end(row.folder, "lost", text)
            self.queue.ended(row.id, row.token)
        else:
            self.queue.requeue(row.id, row.token)

    def _press(self, row: Row) -> None:
        """Makes a stop firm that has been asked for long ago."""
        assert row.stop_asked_at is not None
        waited = time.time() - row.stop_asked_at
        if row.host != socket.gethostname() or waited < self.grace_s:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(row.pid, signal.SIGTERM if waited < 2 * self.grace_s else signal.SIGKILL)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    with suppress(OSError):
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] == "Z"
        )
    return False
