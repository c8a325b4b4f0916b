"""What a run has recorded since a moment: a cursor is a number of bytes of `events.jsonl`, which only grows.

A line that a later resume superseded is delivered all the same, and the `resumed` event after it says from which step
its reader is to forget. So whoever reconnects with its cursor has missed nothing and sees nothing twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from regimen.events import Metrics, Resumed, decode
from regimen.progress import Pace
from regimen.records.reader import Record

MOST_BYTES = 1 << 20
"""Of one answer."""
_PACE_BYTES = 1 << 15
"""At the end of the file, from which the pace is taken: some hundred lines."""


class Page(NamedTuple):
    events: list[dict[str, Any]]
    """As they stand in the file, each with `cursor`: where the next one begins."""
    cursor: int


def since(record: Record, cursor: int = 0) -> Page:
    """Whole lines from `cursor` on; a torn last line waits. A cursor beyond the file is its end."""
    path = record.folder / "events.jsonl"
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            start = file.seek(max(0, min(cursor, end)))
            data = file.read(MOST_BYTES)
            while b"\n" not in data and (more := file.read(MOST_BYTES)):  # a line longer than a page is a page
                data += more
    except FileNotFoundError:
        return Page([], 0)
    events, here = [], start
    for line in data.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        here += len(line)
        try:
            body = json.loads(line)
        except ValueError:  # torn by a kill, before a resume; or the cursor was none of ours
            continue
        if isinstance(body, dict):
            events.append({**body, "cursor": here})
    return Page(events, here)


class HowFar(NamedTuple):
    """How far a run is, from recorded steps alone."""

    step: int
    phase: str
    """What the numbers are of, if not of the training itself: `search`, `retrain`."""
    fraction: float | None
    """Of the budget, or of what the phase will take, 0 to 1; None where nothing was recorded."""
    elapsed_s: float | None
    """Seconds of training."""
    left_s: float | None
    """Seconds until the budget is spent at the recorded pace; None where the records do not tell."""


def how_far(record: Record) -> HowFar:
    """How far a run was when it last recorded something, and how fast since it last began."""
    step, pace = 0, Pace()
    for line in _last_lines(record.folder / "events.jsonl"):
        try:
            event = decode(line)
        except (ValueError, TypeError, AttributeError, KeyError):
            continue  # torn, or no run has written it: where it matters, the record says so
        if isinstance(event, Resumed):
            step = event.resumed_from
            pace.begin_again()
        elif isinstance(event, Metrics):
            step = max(step, event.step)
            pace.hear(event.values)
    return HowFar(step, pace.phase, pace.fraction, pace.elapsed_s, pace.left_s)


def _last_lines(path: Path) -> list[bytes]:
    """The first one may lack its beginning."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _PACE_BYTES))
            return file.readlines()
    except FileNotFoundError:
        return []
