"""The order of the runs that wait, and who trains which: rows in SQLite, which can be made again from the folders.

queued --take--> running --ended--> ended           take: one run a device, a new token, a lease
running --requeue--> queued                         its process died, and its folder says that it may go on

Whoever trains a run holds its newest token; with an older one `beat` and `ended` say no.
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

LEASE_S = 15.0
"""Without a sign of life for so long, a process counts as dead."""

State = Literal["queued", "running", "ended"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id            TEXT PRIMARY KEY,
    folder        TEXT NOT NULL,
    device        TEXT NOT NULL,
    position      REAL NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('queued', 'running', 'ended')),
    token         INTEGER NOT NULL DEFAULT 0,
    attempts      INTEGER NOT NULL DEFAULT 0,
    host          TEXT NOT NULL DEFAULT '',
    pid           INTEGER NOT NULL DEFAULT 0,
    lease_until   REAL NOT NULL DEFAULT 0,
    stop_asked_at REAL
);
CREATE INDEX IF NOT EXISTS waiting ON runs (state, position);
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


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
    """How often a process was started for it."""
    host: str
    pid: int
    """Of the process that trains it; 0 before it has said so."""
    lease_until: float
    """Seconds since 1970, UTC."""
    stop_asked_at: float | None


class Queue:
    """One SQLite file. Safe to use from several processes and threads: every call opens its own connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as rows:
            rows.executescript(_SCHEMA)

    # ------------------------------------------------------------------ what waits

    def add(self, run_id: str, folder: Path, device: str) -> None:
        """Puts a run at the end. One that is there already is put there again, unless it is running."""
        with self._open() as rows:
            rows.execute(
                "INSERT INTO runs (id, folder, device, position, state) VALUES (?, ?, ?, ?, 'queued') "
                "ON CONFLICT (id) DO UPDATE SET state = 'queued', position = excluded.position, attempts = 0, "
                "stop_asked_at = NULL WHERE state != 'running'",
                (run_id, str(folder), device, _last(rows) + 1.0),
            )

    def move(self, run_id: str, place: int) -> bool:
        """Makes a waiting run the one at `place` (0 is next). False if it does not wait."""
        with self._open() as rows:
            waiting = [row["id"] for row in rows.execute(_WAITING)]
            if run_id not in waiting:
                return False
            waiting.remove(run_id)
            waiting.insert(max(0, min(place, len(waiting))), run_id)
            rows.executemany("UPDATE runs SET position = ? WHERE id = ?", list(enumerate(waiting)))
        return True

    def remove(self, run_id: str) -> bool:
        """Forgets a run that is not running. False if it is."""
        with self._open() as rows:
            rows.execute("DELETE FROM runs WHERE id = ? AND state != 'running'", (run_id,))
            return rows.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is None

    def withdraw(self, run_id: str) -> bool:
        """Takes a run out that waits. False if it does not: a process may have it."""
        with self._open() as rows:
            found = rows.execute("UPDATE runs SET state = 'ended' WHERE id = ? AND state = 'queued'", (run_id,))
            return found.rowcount == 1

    @property
    def paused(self) -> bool:
        """Whether nothing new is started."""
        with self._open() as rows:
            found = rows.execute("SELECT value FROM settings WHERE key = 'paused'").fetchone()
        return found is not None and found["value"] == "1"

    @paused.setter
    def paused(self, value: bool) -> None:
        self.set("paused", "1" if value else "0")

    @property
    def goes_on_after_failure(self) -> bool:
        """Whether the next run is started after one that failed; else the queue pauses itself. On by default."""
        with self._open() as rows:
            found = rows.execute("SELECT value FROM settings WHERE key = 'goes_on'").fetchone()
        return found is None or found["value"] == "1"

    @goes_on_after_failure.setter
    def goes_on_after_failure(self, value: bool) -> None:
        self.set("goes_on", "1" if value else "0")

    def set(self, key: str, value: str) -> None:
        with self._open() as rows:
            rows.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))

    # ------------------------------------------------------------------ who trains what

    def take(self, slots: int = 1) -> Row | None:
        """The next run whose device has fewer than `slots` running, now running under a new token; None if all wait."""
        now = time.time()
        with self._open() as rows:
            paused = rows.execute("SELECT 1 FROM settings WHERE key = 'paused' AND value = '1'").fetchone()
            busy = dict(rows.execute("SELECT device, count(*) FROM runs WHERE state = 'running' GROUP BY device"))
            free = [row for row in rows.execute(_WAITING) if busy.get(row["device"], 0) < slots]
            if paused or not free:
                return None
            rows.execute(
                "UPDATE runs SET state = 'running', token = token + 1, attempts = attempts + 1, host = ?, pid = 0, "
                "lease_until = ?, stop_asked_at = NULL WHERE id = ?",
                (socket.gethostname(), now + LEASE_S, free[0]["id"]),
            )
            return _row(rows.execute("SELECT * FROM runs WHERE id = ?", (free[0]["id"],)).fetchone())

    def beat(self, run_id: str, token: int) -> bool:
        """A sign of life of the process that calls. False if it has lost the run to another."""
        with self._open() as rows:
            found = rows.execute(
                "UPDATE runs SET lease_until = ?, pid = ?, host = ? WHERE id = ? AND token = ? AND state = 'running'",
                (time.time() + LEASE_S, os.getpid(), socket.gethostname(), run_id, token),
            )
            return found.rowcount == 1

    def ended(self, run_id: str, token: int) -> bool:
        """The run has a final status in its folder. False if another process has it."""
        with self._open() as rows:
            found = rows.execute(
                "UPDATE runs SET state = 'ended' WHERE id = ? AND token = ? AND state = 'running'", (run_id, token)
            )
            return found.rowcount == 1

    def requeue(self, run_id: str, token: int) -> bool:
        """Gives a run whose process died back, to the place that it had. False if another process has it."""
        with self._open() as rows:
            found = rows.execute(
                "UPDATE runs SET state = 'queued' WHERE id = ? AND token = ? AND state = 'running'", (run_id, token)
            )
            return found.rowcount == 1

    def ask_to_stop(self, run_id: str) -> None:
        """Remembers since when a running run has been asked."""
        with self._open() as rows:
            rows.execute(
                "UPDATE runs SET stop_asked_at = coalesce(stop_asked_at, ?) WHERE id = ? AND state = 'running'",
                (time.time(), run_id),
            )

    # ------------------------------------------------------------------ looking

    def row(self, run_id: str) -> Row | None:
        with self._open() as rows:
            found = rows.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        return None if found is None else _row(found)

    def rows(self, *states: State) -> list[Row]:
        """Those in these states (all, if none is named), in their order."""
        with self._open() as rows:
            found = [_row(row) for row in rows.execute("SELECT * FROM runs ORDER BY position")]
        return [row for row in found if not states or row.state in states]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection in one transaction that nobody else writes in."""
        rows = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        try:
            rows.row_factory = sqlite3.Row
            rows.execute("PRAGMA journal_mode = WAL")
            rows.execute("PRAGMA synchronous = FULL")
            rows.execute("BEGIN IMMEDIATE")
            yield rows
            if rows.in_transaction:
                rows.execute("COMMIT")
        finally:
            rows.close()


_WAITING = "SELECT * FROM runs WHERE state = 'queued' ORDER BY position, id"


def _last(rows: sqlite3.Connection) -> float:
    return float(rows.execute("SELECT coalesce(max(position), 0) FROM runs").fetchone()[0])


def _row(row: sqlite3.Row) -> Row:
    return Row(**{**dict(row), "folder": Path(row["folder"])})
