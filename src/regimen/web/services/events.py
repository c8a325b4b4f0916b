"""What a run has recorded since a moment: a cursor is a number of bytes of `events.jsonl`, which only grows.

A line that a later resume superseded is delivered all the same, and the `resumed` event after it says from which step
its reader is to forget. So whoever reconnects with its cursor has missed nothing and sees nothing twice.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from regimen.records.reader import Record

MOST_BYTES = 1 << 20
"""Of one answer."""


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
