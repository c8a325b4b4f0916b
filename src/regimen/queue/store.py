"""The order of the runs that wait, and who trains which: rows in SQLite, which can be made again from the folders.

queued --take--> running --ended--> ended           take: one run a device, a new token, a lease
running --requeue--> queued                         its process died, and its folder says that it may go on

Whoever trains a run holds its newest token; with an older one `beat` and `ended` say no. Tokens never come again, not
even in a database that was made anew.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from regimen.queue.layout import connected, set_aside_if_damaged
from regimen.queue.processlife import birth

LEASE_S = 15.0
"""Without a sign of life for so long, a process of another machine counts as dead."""

State = Literal["queued", "running", "ended"]


@dataclass(frozen=True)
class Row:
    """What the queue knows of a run; all else is in its folder."""

    id: str
    folder: Path
    device: str
    """What it needs to itself: `cpu`, `cuda:0`, ..."""
    position: float
    state: State
    token: int
    attempts: int
    """How often a process was started for it since it last saved a new checkpoint."""
    saved: int
    """The step of the newest checkpoint when a process of it was last found dead."""
    host: str
    pid: int
    """Of the process that trains it; 0 before it has said so."""
    born: str
    """Which of all processes of that number; see `processlife.birth`."""
    lease_until: float
    """Seconds since 1970, UTC."""
    stop_asked_at: float | None
    """Seconds since 1970, UTC."""
    stop_now: bool
    """Whether it is to be ended without waiting for it to save."""
    again: bool
    """Whether it is to wait again as soon as its process, which is about to end, has ended."""


class Queue:
    """One SQLite file. Safe to use from several processes and threads: every call opens its own connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        set_aside_if_damaged(path)
        connected(path).close()

    # ------------------------------------------------------------------ what waits

    def add(self, run_id: str, folder: Path, device: str) -> None:
        """Puts a run at the end. One that is there already is put there again; one whose process has not quite ended
        follows when it has.
        """
        with self._writing() as rows:
            rows.execute(
                "INSERT INTO runs (id, folder, device, position, state) VALUES (?, ?, ?, ?, 'queued') "
                "ON CONFLICT (id) DO UPDATE SET position = excluded.position, folder = excluded.folder, "
                "device = excluded.device, again = state = 'running', "
                "attempts = CASE state WHEN 'running' THEN attempts ELSE 0 END, "
                "stop_asked_at = CASE state WHEN 'running' THEN stop_asked_at END, "
                "state = CASE state WHEN 'running' THEN 'running' ELSE 'queued' END",
                (run_id, str(folder), device, _last(rows) + 1.0),
            )

    def move(self, run_id: str, place: int) -> bool:
        """Makes a waiting run the one at `place` (0 is next). False if it does not wait."""
        with self._writing() as rows:
            waiting = [row["id"] for row in rows.execute(_WAITING)]
            if run_id not in waiting:
                return False
            waiting.remove(run_id)
            waiting.insert(max(0, min(place, len(waiting))), run_id)
            rows.executemany("UPDATE runs SET position = ? WHERE id = ?", list(enumerate(waiting)))
        return True

    def remove(self, run_id: str) -> bool:
        """Forgets a run that is not running. False if it is."""
        with self._writing() as rows:
            rows.execute("DELETE FROM runs WHERE id = ? AND state != 'running'", (run_id,))
            return rows.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is None

    def withdraw(self, run_id: str) -> bool:
        """Takes a run out that waits. False if it does not: a process may have it."""
        with self._writing() as rows:
            found = rows.execute(
                "UPDATE runs SET state = 'ended', stop_asked_at = ? WHERE id = ? AND state = 'queued'",
                (time.time(), run_id),
            )
            return found.rowcount == 1

    @property
    def paused(self) -> bool:
        """Whether nothing new is started."""
        return self.get("paused") == "1"

    @paused.setter
    def paused(self, value: bool) -> None:
        self.set("paused", "1" if value else "0")

    @property
    def goes_on_after_failure(self) -> bool:
        """Whether the next run is started after one that failed; else the queue pauses itself. On by default."""
        return self.get("goes_on") != "0"

    @goes_on_after_failure.setter
    def goes_on_after_failure(self, value: bool) -> None:
        self.set("goes_on", "1" if value else "0")

    def get(self, key: str) -> str | None:
        with self._reading() as rows:
            found = rows.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found["value"])

    def set(self, key: str, value: str) -> None:
        with self._writing() as rows:
            rows.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))

    # ------------------------------------------------------------------ who trains what

    def take(self, slots: int = 1) -> Row | None:
        """The next run whose device has fewer than `slots` running, now running under a new token; None if all wait."""
        now = time.time()
        with self._writing() as rows:
            paused = rows.execute("SELECT 1 FROM settings WHERE key = 'paused' AND value = '1'").fetchone()
            busy = dict(rows.execute("SELECT device, count(*) FROM runs WHERE state = 'running' GROUP BY device"))
            free = [row for row in rows.execute(_WAITING) if busy.get(row["device"], 0) < slots]
            if paused or not free:
                return None
            rows.execute(
                "UPDATE runs SET state = 'running', token = max(token + 1, ?), attempts = attempts + 1, host = ?, "
                "pid = 0, born = '', lease_until = ?, stop_asked_at = NULL, stop_now = 0, again = 0 WHERE id = ?",
                (int(now * 1e6), socket.gethostname(), now + LEASE_S, free[0]["id"]),
            )
            return _row(rows.execute("SELECT * FROM runs WHERE id = ?", (free[0]["id"],)).fetchone())

    def beat(self, row: Row) -> Row | None:
        """A sign of life of the process that calls; the row as it is now. None if it has lost the run to another.

        A row that is not there at all was lost with the database, and is written again.
        """
        alive = (time.time() + LEASE_S, os.getpid(), birth(os.getpid()), socket.gethostname(), row.id, row.token)
        with self._writing() as rows:
            rows.execute(
                "INSERT OR IGNORE INTO runs (id, folder, device, position, state, token, attempts) "
                "VALUES (?, ?, ?, ?, 'running', ?, ?)",
                (row.id, str(row.folder), row.device, row.position, row.token, row.attempts),
            )
            found = rows.execute(
                "UPDATE runs SET lease_until = ?, pid = ?, born = ?, host = ? "
                "WHERE id = ? AND token = ? AND state = 'running' RETURNING *",
                alive,
            ).fetchone()
            return None if found is None else _row(found)

    def ended(self, run_id: str, token: int, *, failed: bool = False) -> bool:
        """The run has a final status in its folder; after a failure, the queue pauses if it is told to. False if
        another process has the run.
        """
        with self._writing() as rows:
            found = rows.execute(
                "UPDATE runs SET state = CASE again WHEN 1 THEN 'queued' ELSE 'ended' END, again = 0, attempts = 0, "
                "stop_asked_at = NULL WHERE id = ? AND token = ? AND state = 'running'",
                (run_id, token),
            )
            goes_on = rows.execute("SELECT 1 FROM settings WHERE key = 'goes_on' AND value = '0'").fetchone() is None
            if found.rowcount == 1 and failed and not goes_on:
                rows.execute("INSERT OR REPLACE INTO settings VALUES ('paused', '1')")
            return found.rowcount == 1

    def requeue(self, run_id: str, token: int, saved: int = 0) -> bool:
        """Gives a run whose process died back, to the place that it had; `saved` is the step of its newest checkpoint.
        False if another process has it.
        """
        with self._writing() as rows:
            found = rows.execute(
                "UPDATE runs SET state = 'queued', again = 0, attempts = CASE WHEN ? > saved THEN 0 ELSE attempts END, "
                "saved = max(saved, ?) WHERE id = ? AND token = ? AND state = 'running'",
                (saved, saved, run_id, token),
            )
            return found.rowcount == 1

    def ask_to_stop(self, run_id: str, *, now: bool = False) -> bool:
        """Remembers since when a running run has been asked, and whether it is to end at once. False if it is not
        running.
        """
        with self._writing() as rows:
            found = rows.execute(
                "UPDATE runs SET stop_asked_at = coalesce(stop_asked_at, ?), stop_now = max(stop_now, ?), again = 0 "
                "WHERE id = ? AND state = 'running'",
                (time.time(), int(now), run_id),
            )
            return found.rowcount == 1

    # ------------------------------------------------------------------ looking

    def row(self, run_id: str) -> Row | None:
        with self._reading() as rows:
            found = rows.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        return None if found is None else _row(found)

    def rows(self, *states: State) -> list[Row]:
        """Those in these states (all, if none is named), in their order."""
        wanted = states or ("queued", "running", "ended")
        among = ", ".join("?" * len(wanted))
        with self._reading() as rows:
            found = rows.execute(f"SELECT * FROM runs WHERE state IN ({among}) ORDER BY position, id", wanted)
            return [_row(row) for row in found]

    # ------------------------------------------------------------------ the file

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A connection in one transaction that nobody else writes in."""
        rows = connected(self.path)
        try:
            rows.execute("BEGIN IMMEDIATE")
            yield rows
            if rows.in_transaction:
                rows.execute("COMMIT")
        finally:
            rows.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        rows = connected(self.path)
        try:
            yield rows
        finally:
            rows.close()


_WAITING = "SELECT * FROM runs WHERE state = 'queued' ORDER BY position, id"


def _last(rows: sqlite3.Connection) -> float:
    return float(rows.execute("SELECT coalesce(max(position), 0) FROM runs").fetchone()[0])


def _row(row: sqlite3.Row) -> Row:
    found = dict(row)
    typed = {"folder": Path(found["folder"]), "stop_now": bool(found["stop_now"]), "again": bool(found["again"])}
    return Row(**{**found, **typed})
