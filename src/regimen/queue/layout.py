"""The queue's file: its two tables, made where they are not there."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

_LAYOUT = 2
"""Of the rows; a file with another number is emptied, and its rows are made again from the folders."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id            TEXT PRIMARY KEY,
    folder        TEXT NOT NULL,
    device        TEXT NOT NULL,
    position      REAL NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('queued', 'running', 'ended')),
    token         INTEGER NOT NULL DEFAULT 0,
    attempts      INTEGER NOT NULL DEFAULT 0,
    saved         INTEGER NOT NULL DEFAULT 0,
    host          TEXT NOT NULL DEFAULT '',
    pid           INTEGER NOT NULL DEFAULT 0,
    born          TEXT NOT NULL DEFAULT '',
    lease_until   REAL NOT NULL DEFAULT 0,
    stop_asked_at REAL,
    stop_now      INTEGER NOT NULL DEFAULT 0,
    again         INTEGER NOT NULL DEFAULT 0
)
"""


def connected(path: Path) -> sqlite3.Connection:
    """A connection without a transaction. The file may have been deleted a moment ago: then it is made anew."""
    rows = sqlite3.connect(path, timeout=30.0, isolation_level=None)
    rows.row_factory = sqlite3.Row
    rows.execute("PRAGMA synchronous = FULL")
    if not _is_laid_out(rows):
        rows.execute("PRAGMA journal_mode = WAL")
        rows.execute("BEGIN IMMEDIATE")
        if not _is_laid_out(rows):  # another process was not faster
            rows.execute("DROP TABLE IF EXISTS runs")
            rows.execute(_SCHEMA)
            rows.execute("CREATE INDEX IF NOT EXISTS waiting ON runs (state, position)")
            rows.execute("CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            rows.execute(f"PRAGMA user_version = {_LAYOUT}")
        rows.execute("COMMIT")
    return rows


def set_aside_if_damaged(path: Path) -> Path | None:
    """Renames a file that is no database any more: all that it held can be made again. Returns where it went."""
    try:
        rows = connected(path)
        try:
            found = rows.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            rows.close()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        found = str(error)
    if found == "ok":
        return None
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime())}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    return aside


def _is_laid_out(rows: sqlite3.Connection) -> bool:
    return bool(rows.execute("PRAGMA user_version").fetchone()[0] == _LAYOUT)
