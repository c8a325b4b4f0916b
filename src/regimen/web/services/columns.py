"""All numbers of a run's `events.jsonl` as arrays, read once: later only the new end of the file is.

The arrays lie in a cache file with the byte up to which they tell and the bytes before it, by which a file is known
again. Lines that a resume superseded are dropped as `regimen.events.surviving` drops them.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regimen.events import Metrics, Note, Resumed, decode

_LAYOUT = 1
"""Of the cache file; another number in it makes it be read anew."""
_WORTH_KEEPING = 1 << 15
"""New bytes from which the cache is written: less is read again as fast."""
_KNOWN_BY = 64
"""Bytes before the cursor that must be the same for a file to be the one that was read."""

Column = tuple[NDArray[np.int64], NDArray[np.float64]]
"""The lines at which a metric was recorded, and its values there."""


@dataclass(frozen=True)
class Columns:
    """What counts of the first `cursor` bytes. A line here is one `metrics` event."""

    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Byte at which each line begins."""
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    at: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Seconds since 1970, UTC."""
    values: dict[str, Column] = field(default_factory=dict)
    resumes: tuple[tuple[int, int], ...] = ()
    """For each time that the run went on: the byte at which it says so, and the step from which it went on."""
    notes: tuple[tuple[int, str], ...] = ()
    """Each with the byte at which it begins."""
    cursor: int = 0
    last_bytes: bytes = b""

    @property
    def latest(self) -> dict[str, float]:
        """Each metric's last value."""
        return {key: float(values[-1]) for key, (_, values) in self.values.items()}

    @property
    def resumed_before(self) -> list[int]:
        """The line before which the run went on, for each resume."""
        return [int(np.searchsorted(self.starts, start)) for start, _ in self.resumes]


def read_columns(events: Path, cache: Path) -> Columns:
    """The columns of `events`; those of no file are empty. Reads and renews `cache`."""
    known = _load(cache)
    try:
        with events.open("rb") as file:
            file.seek(max(0, known.cursor - len(known.last_bytes)))
            if file.read(len(known.last_bytes)) != known.last_bytes:
                known = Columns()  # another file, or a shorter one
            file.seek(known.cursor)
            data = file.read()
    except FileNotFoundError:
        return Columns()
    whole = data[: data.rfind(b"\n") + 1]  # a torn last line waits
    if not whole:
        return known
    found = _grown(known, whole)
    if len(whole) >= _WORTH_KEEPING:
        _save(found, cache)
    return found


class _Growing:
    """Columns as lists."""

    def __init__(self, known: Columns) -> None:
        self.starts: list[int] = known.starts.tolist()
        self.steps: list[int] = known.steps.tolist()
        self.at: list[float] = known.at.tolist()
        self.rows: dict[str, list[int]] = {key: rows.tolist() for key, (rows, _) in known.values.items()}
        self.values: dict[str, list[float]] = {key: values.tolist() for key, (_, values) in known.values.items()}
        self.resumes = list(known.resumes)
        self.notes = list(known.notes)

    def add(self, start: int, step: int, at: float, values: Mapping[str, float]) -> None:
        row = len(self.starts)
        self.starts.append(start)
        self.steps.append(step)
        self.at.append(at)
        for key, value in values.items():
            if key in self.rows:
                self.rows[key].append(row)
                self.values[key].append(value)
            else:
                self.rows[key], self.values[key] = [row], [value]

    def drop_from(self, keep: int) -> None:
        """Forgets what begins at byte `keep` or later."""
        lines = int(np.searchsorted(self.starts, keep))
        for known in (self.starts, self.steps, self.at):
            del known[lines:]
        for key, rows in list(self.rows.items()):
            kept = int(np.searchsorted(rows, lines))
            del rows[kept:], self.values[key][kept:]
            if not rows:
                del self.rows[key], self.values[key]
        self.resumes = [resume for resume in self.resumes if resume[0] < keep]
        self.notes = [note for note in self.notes if note[0] < keep]


def _grown(known: Columns, data: bytes) -> Columns:
    lists = _Growing(known)
    here = known.cursor
    for line in data.splitlines(keepends=True):
        start, here = here, here + len(line)
        try:
            event = _metrics(line) or decode(line)
        except (ValueError, TypeError, AttributeError, KeyError):
            continue  # torn by a kill, and covered by the resume that follows
        if isinstance(event, tuple):
            lists.add(start, *event)
        elif isinstance(event, Metrics):
            lists.add(start, event.step, event.at, event.values)
        elif isinstance(event, Resumed):
            lists.drop_from(event.keep)
            lists.resumes.append((start, event.resumed_from))
        elif isinstance(event, Note):
            lists.notes.append((start, event.text))
    return Columns(
        np.array(lists.starts, np.int64),
        np.array(lists.steps, np.int64),
        np.array(lists.at, np.float64),
        {key: (np.array(rows, np.int64), np.array(lists.values[key], np.float64)) for key, rows in lists.rows.items()},
        tuple(lists.resumes),
        tuple(lists.notes),
        here,
        (known.last_bytes + data)[-_KNOWN_BY:],
    )


def _metrics(line: bytes) -> tuple[int, float, dict[str, float]] | None:
    """Step, time and values of a line as `encode` writes nearly all of them, without what `decode` does for others:
    they are many. None for any other line.
    """
    if not line.startswith(b'{"kind": "metrics", "step": ') or b'": "' in line[20:]:  # a word in place of a number
        return None
    text = line.decode()
    body, end = _PARSE(text)
    return (body["step"], body["at"], body["values"]) if len(body) == 4 and text[end:] == "\n" else None


_PARSE = json.JSONDecoder().raw_decode


# ------------------------------------------------------------------------------------------------ the cache file


def _load(cache: Path) -> Columns:
    try:
        with np.load(cache, allow_pickle=False) as kept:
            about = json.loads(bytes(kept["about"]))
            if about["layout"] != _LAYOUT:
                return Columns()
            values = {key: (kept[f"rows{n}"], kept[f"values{n}"]) for n, key in enumerate(about["keys"])}
            return Columns(
                kept["starts"],
                kept["steps"],
                kept["at"],
                values,
                tuple((start, step) for start, step in about["resumes"]),
                tuple((start, text) for start, text in about["notes"]),
                about["cursor"],
                bytes.fromhex(about["last_bytes"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # not there, or damaged
        return Columns()


def _save(columns: Columns, cache: Path) -> None:
    about = {
        "layout": _LAYOUT,
        "keys": list(columns.values),
        "notes": columns.notes,
        "resumes": columns.resumes,
        "cursor": columns.cursor,
        "last_bytes": columns.last_bytes.hex(),
    }
    arrays: dict[str, NDArray[np.generic]] = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "starts": columns.starts,
        "steps": columns.steps,
        "at": columns.at,
    }
    for number, (rows, values) in enumerate(columns.values.values()):
        arrays |= {f"rows{number}": rows, f"values{number}": values}
    _write(arrays.items(), cache)


def _write(arrays: Iterable[tuple[str, NDArray[np.generic]]], cache: Path) -> None:
    beside = cache.with_name(f".{cache.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            np.savez(file, **dict(arrays))  # type: ignore[arg-type]  # numpy's stub takes the names for options
        beside.replace(cache)
    except OSError:  # a full disk: it is a cache
        beside.unlink(missing_ok=True)
