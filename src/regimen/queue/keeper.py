"""Keeps the queue going: starts what is next, finds processes that died, makes a stop firm that is not heeded.

    keeper = Keeper(Queue(path))
    keeper.tick()        every half second or so; what it finds, it finds in the files and the rows alone

Killing the keeper loses nothing: runs are processes of their own, and the next keeper finds them again.
"""

from __future__ import annotations

import signal
import socket
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path

from regimen.errors import RecordError, RegimenError
from regimen.logfile import PRINTED
from regimen.queue.finding import unfinished
from regimen.queue.outcome import FAILURES, end, wait_again
from regimen.queue.processlife import kills_for_memory, lives, send
from regimen.queue.starter import UNKNOWN, Starter, Worker
from regimen.queue.store import Queue, Row
from regimen.records.reader import Record
from regimen.records.writer import FINAL

MOST_ATTEMPTS = 5
"""Processes that die for one run, none of which saved a new checkpoint, before it is called lost."""
GRACE_S = 60.0
"""From being asked to stop to SIGTERM; as long again, and SIGKILL follows."""
HURRY_S = 2.0
"""From SIGTERM to SIGKILL where a run is to end at once."""


class Keeper:
    """Of one queue. `slots`: runs at once on one device; `starter`: one that several keepers share."""

    def __init__(
        self, queue: Queue, *, slots: int = 1, grace_s: float = GRACE_S, starter: Starter | None = None
    ) -> None:
        self.queue, self.slots, self.grace_s = queue, slots, grace_s
        self._starter = starter or Starter(log=queue.path.parent / PRINTED)
        self._workers: dict[int, tuple[Worker, int]] = {}
        """By token: the process, and `kills_for_memory` before it."""
        self._said = set[str]()
        queue.set("slots", str(slots))

    def find_again(self, runs: Path) -> None:
        """Makes rows for queued and interrupted runs below `runs` that wait and have none, as after a lost database."""
        rows = {row.id: row for row in self.queue.rows()}
        for found in unfinished(runs):
            row = rows.get(found.id)
            if row is not None and (row.state != "ended" or found.status != "queued"):
                continue  # it has a place; or someone else went on with it, and was killed
            if row is not None and row.stop_asked_at is not None and row.stop_asked_at > found.queued_at:
                end(found.folder, "stopped", "was taken out of the queue before it began.", exit_code=5)
            else:
                self.queue.add(found.id, found.folder, found.device)

    def tick(self) -> None:
        """One look at everything. A run that cannot be looked after is left for the next look, and the others are."""
        running = self.queue.rows("running")
        for row in running:
            try:
                self._look_after(row)
            except (RegimenError, OSError, sqlite3.Error) as error:
                self._say(f"run {row.id} could not be looked after: {error}")
        waiting = self.queue.rows("queued")
        while waiting and (taken := self.queue.take(self.slots)) is not None:
            self._start(taken)
        self._starter.rest(is_idle=not running and not waiting)

    def close(self) -> None:
        """Ends what only serves to start runs; the runs go on."""
        self._starter.close()

    # ------------------------------------------------------------------ processes

    def _look_after(self, row: Row) -> None:
        worker, kills = self._workers.get(row.token, (None, 0))
        code = worker.code() if worker is not None else UNKNOWN
        if code == UNKNOWN:
            code = self._without_worker(row)
        if code is not None:
            try:
                self._settle(row, code, for_memory=code == -signal.SIGKILL and kills_for_memory() > kills)
            except RecordError as error:  # its files were damaged: the list of runs says so, too
                self._say(f"run {row.id} cannot be read: {error}")
                self.queue.ended(row.id, row.token, failed=True)
            self._workers.pop(row.token, None)
        elif row.stop_asked_at is not None and row.pid:
            self._press(row)

    def _start(self, row: Row) -> None:
        kills = kills_for_memory()
        try:
            self._workers[row.token] = self._starter.start(self.queue.path, row), kills
        except OSError as error:  # no processes left, or its folder is gone
            self._workers[row.token] = Worker(lambda: UNKNOWN), kills
            self._say(f"no process could be started for run {row.id}: {error}")

    def _without_worker(self, row: Row) -> int | None:
        """How a process ended that another keeper started: unknown. None while it lives."""
        if row.host == socket.gethostname() and row.pid:
            return None if lives(row.pid, row.born) else UNKNOWN
        return None if row.lease_until > time.time() else UNKNOWN

    def _settle(self, row: Row, code: int, *, for_memory: bool) -> None:
        """What becomes of a run whose process is gone."""
        if not (row.folder / "spec.yaml").is_file():
            self.queue.ended(row.id, row.token)
            self.queue.remove(row.id)
            return
        status = Record(row.folder).state.get("status")
        if status not in FINAL and not self._ended_here(row, status, code, for_memory=for_memory):
            saved = _saved(row.folder)
            if status != "queued" or row.attempts > 1:
                wait_again(row.folder, row.attempts, _how(code))
            self.queue.requeue(row.id, row.token, saved)
            return
        status = Record(row.folder).state.get("status")
        self.queue.ended(row.id, row.token, failed=status in FAILURES)

    def _ended_here(self, row: Row, status: str | None, code: int, *, for_memory: bool) -> bool:
        """Whether a run that has no end gets one, rather than another process."""
        if row.again:
            return False
        if row.stop_asked_at is not None:
            return end(row.folder, "stopped", f"did not save when it was asked to stop, and {_how(code)}.", exit_code=5)
        if for_memory:
            text = "out of memory: the kernel ended its process."
            return end(row.folder, "failed", text, exit_code=75, signal=int(signal.SIGKILL))
        if code > 0 and status != "queued":  # it ended by itself and could not write how: a full disk, mostly
            return end(row.folder, "failed", f"{_how(code)}; its end could not be recorded.", exit_code=code)
        if row.attempts >= MOST_ATTEMPTS and _saved(row.folder) <= row.saved:
            text = f"{row.attempts} processes in a row died before a new checkpoint; the last one {_how(code)}."
            return end(row.folder, "lost", text, signal=-code if -64 <= code < 0 else None)
        return False

    def _say(self, text: str) -> None:
        """Once, however often it is noticed."""
        if text not in self._said:
            self._said.add(text)
            sys.stderr.write(f"regimen: {text}\n")

    def _press(self, row: Row) -> None:
        """Makes a stop firm: SIGTERM and then SIGKILL, after a while or at once."""
        assert row.stop_asked_at is not None
        if row.host != socket.gethostname():
            return
        first, last = (0.0, HURRY_S) if row.stop_now else (self.grace_s, 2 * self.grace_s)
        waited = time.time() - row.stop_asked_at
        if waited >= first:
            send(row.pid, row.born, signal.SIGTERM if waited < last else signal.SIGKILL)


def _saved(folder: Path) -> int:
    """The step of the newest checkpoint; 0 where there is none. One that was being written has another name."""
    names = [path.parent.name.removeprefix("step-") for path in folder.glob("checkpoints/step-*/manifest.json")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code == UNKNOWN:
        return "was gone without a word"
    if code >= 0:
        return f"ended with code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
