"""One row for each run below a folder, cached in `<root>/.index.sqlite` so that a thousand runs are listed at once.

The folders are the truth. A row is taken from the cache only if the sizes and modification times of `spec.yaml`,
`status.json` and `events.jsonl` are those that it was read from; the file can be deleted at any time.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from regimen.errors import RecordError
from regimen.events import Metrics, Resumed, decode
from regimen.records.reader import Record
from regimen.records.writer import Status, is_locked

INDEX_FILE = ".index.sqlite"
_LAYOUT = 1
"""Of the cached rows; another number in the file makes it start empty."""
_TAIL = 1 << 16
"""Bytes at the end of `events.jsonl` that hold the last recorded numbers: some hundred lines."""
_WATCHED = ("spec.yaml", "status.json", "events.jsonl")


@dataclass(frozen=True)
class RunRow:
    """What a list shows of a run."""

    folder: Path
    id: str
    task: str
    strategy: str
    seed: int
    status: Status
    step: int
    """The last recorded one."""
    fraction: float | None
    """How much of the budget was spent at the last recorded line, 0 to 1; None if that was not recorded."""
    metrics: Mapping[str, float]
    """The last recorded numbers outside `time/`, and over them those that training returned."""
    best: str | None
    """The metric by which the run chose its best checkpoint, if it did."""
    content: str
    started_at: float | None
    ended_at: float | None
    """Seconds since 1970, UTC."""
    message: str


class Unreadable(NamedTuple):
    """A folder that looks like a run and cannot be read, and why."""

    folder: Path
    why: str


class Indexed(NamedTuple):
    rows: list[RunRow]
    """In the order of the folders' paths."""
    unreadable: list[Unreadable]


def run_folders(root: Path) -> Iterator[Path]:
    """Every folder below `root` that holds a `spec.yaml`; not looked for inside another run or in hidden folders."""
    waiting = [os.fspath(root)]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                found = list(entries)
        except OSError:
            continue
        if any(entry.name == "spec.yaml" for entry in found):
            yield Path(here)
        else:
            waiting += [e.path for e in found if not e.name.startswith(".") and e.is_dir(follow_symlinks=False)]


def indexed(root: Path) -> Indexed:
    """All runs below `root`, read from the cache where their files are as they were."""
    with closing(_open(root)) as cache:
        known = {folder: (mark, body) for folder, mark, body in cache.execute("SELECT folder, mark, body FROM runs")}
        fresh: dict[str, tuple[str, str]] = {}
        rows: list[RunRow] = []
        unreadable: list[Unreadable] = []
        for folder in sorted(run_folders(root)):
            name, mark = os.path.relpath(folder, root), _mark(folder)
            seen = known.pop(name, None)
            try:
                body = json.loads(seen[1]) if seen and seen[0] == mark else _body(folder)
            except (RecordError, KeyError, TypeError, ValueError, OSError) as error:
                unreadable.append(Unreadable(folder, _why(error)))
                continue
            if not seen or seen[0] != mark:
                fresh[name] = (mark, json.dumps(body))
            rows.append(_as_found(folder, RunRow(**{**body, "folder": folder})))
        _keep(cache, fresh, gone=list(known))
    return Indexed(rows, unreadable)


def _as_found(folder: Path, row: RunRow) -> RunRow:
    """A run that says running and has no process is lost; nothing in its files changes when that happens."""
    if row.status != "running" or is_locked(folder):
        return row
    return RunRow(**{**row.__dict__, "status": "lost"})


def _mark(folder: Path) -> str:
    marks = []
    for name in _WATCHED:
        try:
            stat = (folder / name).stat()
        except OSError:
            marks.append("-")
        else:
            marks.append(f"{stat.st_size}@{stat.st_mtime_ns}")
    return " ".join(marks)


def _body(folder: Path) -> dict[str, Any]:
    """A row as the cache holds it."""
    return {key: value for key, value in asdict(read_row(folder)).items() if key != "folder"}


def _why(error: Exception) -> str:
    """In one line."""
    said = error.problems[0].message if isinstance(error, RecordError) else f"is not as a run writes it ({error!r})."
    return " ".join(said.split())


def read_row(folder: Path) -> RunRow:
    """The row of one run, from its files; its status as it was recorded. Raises `RecordError` as a record does."""
    record = Record(folder)
    settings, state = record.settings, record.state
    step, fraction, metrics = _last_numbers(folder / "events.jsonl")
    return RunRow(
        folder=folder,
        id=record.id,
        task=settings["task"]["name"],
        strategy=settings["strategy"]["name"],
        seed=settings["seed"],
        status=state.get("status", "lost"),
        step=step,
        fraction=fraction,
        metrics=metrics | record.final,
        best=settings.get("checkpoint", {}).get("best"),
        content=record.content,
        started_at=state.get("started_at"),
        ended_at=state.get("ended_at"),
        message=state.get("message", ""),
    )


def _last_numbers(events: Path) -> tuple[int, float | None, dict[str, float]]:
    """Step, spent fraction of the budget, and each metric's last value, from the end of the file backwards."""
    step, fraction = 0, None
    metrics: dict[str, float] = {}
    valid_below = math.inf
    for start, line in reversed(_tail(events)):
        if start >= valid_below:
            continue  # a later resume did this again
        try:
            event = decode(line)
        except (ValueError, TypeError, AttributeError, KeyError):
            continue  # torn by a kill, or the part of a line with which the tail begins
        if isinstance(event, Resumed):
            step, valid_below = max(step, event.resumed_from), event.keep
        if isinstance(event, Metrics):
            step = max(step, event.step)
            fraction = event.values.get("time/fraction") if fraction is None else fraction
            metrics = {k: v for k, v in event.values.items() if not k.startswith("time/")} | metrics
    return step, fraction if fraction is None or math.isfinite(fraction) else None, metrics


def _tail(path: Path) -> list[tuple[int, bytes]]:
    """The last lines, each with the byte at which it begins."""
    try:
        with path.open("rb") as file:
            start = file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    starts = accumulate((len(line) for line in lines), initial=start)
    return list(zip(starts, lines, strict=False))


def _open(root: Path) -> sqlite3.Connection:
    """The cache, empty if it is new or damaged, and in memory only where the folder cannot be written."""
    path = root / INDEX_FILE
    for _ in range(2):
        try:
            return _prepared(sqlite3.connect(path, timeout=5))
        except sqlite3.OperationalError:
            break
        except sqlite3.DatabaseError:  # damaged, and nothing but a cache
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
    return _prepared(sqlite3.connect(":memory:"))


def _prepared(cache: sqlite3.Connection) -> sqlite3.Connection:
    try:
        cache.execute("PRAGMA journal_mode=WAL")
        cache.execute("PRAGMA synchronous=NORMAL")
        if cache.execute("PRAGMA user_version").fetchone()[0] != _LAYOUT:
            with cache:
                cache.execute("DROP TABLE IF EXISTS runs")
                cache.execute("CREATE TABLE runs (folder TEXT PRIMARY KEY, mark TEXT NOT NULL, body TEXT NOT NULL)")
                cache.execute(f"PRAGMA user_version={_LAYOUT}")
        cache.execute("SELECT count(*) FROM runs")
    except sqlite3.Error:
        cache.close()
        raise
    return cache


def _keep(cache: sqlite3.Connection, fresh: Mapping[str, tuple[str, str]], gone: list[str]) -> None:
    if not fresh and not gone:
        return
    try:
        with cache:
            cache.executemany("REPLACE INTO runs VALUES (?, ?, ?)", [(name, *both) for name, both in fresh.items()])
            cache.executemany("DELETE FROM runs WHERE folder = ?", [(name,) for name in gone])
    except sqlite3.OperationalError:
        return  # another process is writing the same rows, or the disk is full: they are read again next time
