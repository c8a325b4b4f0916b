"""What changes while somebody watches: the lines of one run, and the list of all runs."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

from regimen.queue.store import Queue
from regimen.records.index import RunRow, indexed
from regimen.records.reader import Record
from regimen.records.writer import FINAL, Status
from regimen.web.services.events import HowFar, how_far
from regimen.web.services.parts import Parts


class Standing(NamedTuple):
    """Where a run stands now."""

    status: Status
    is_final: bool
    """Whether nothing more will come, unless somebody resumes it."""
    message: str
    far: HowFar


def standing(queue: Queue, folder_record: Record) -> Standing:
    """Read anew. A run whose process died is not final while the queue is going to start another."""
    record = Record(folder_record.folder)
    status = record.status
    row = queue.row(record.id) if status != "running" else None
    if status == "lost" and row is not None and row.state != "ended":
        status = "queued"
    is_final = status in FINAL and (row is None or row.state == "ended")
    return Standing(status, is_final, str(record.state.get("message") or ""), how_far(record))


class Watch:
    """The list of all runs, read once a second however many watch it."""

    def __init__(self, parts: Parts, *, every_s: float = 1.0) -> None:
        self._runs, self._every_s = parts.home.runs, every_s
        self._lock = threading.Lock()
        self._read_at, self._rows = 0.0, list[RunRow]()

    def changes(self, seen: dict[str, Any], since: float) -> list[RunRow]:
        """The runs that are not as in `seen`, which is brought up to date. To one who has seen nothing: those that
        have not ended, and those that ended after `since` (seconds since 1970, UTC).
        """
        rows, is_first = self._now(), not seen
        marks = {row.id: (row.status, row.step, row.fraction, row.ended_at) for row in rows}
        changed = [row for row in rows if seen.get(row.id) != marks[row.id]]
        if is_first:
            changed = [row for row in changed if row.status not in FINAL or (row.ended_at or 0.0) > since]
        seen.clear()
        seen.update(marks)
        return changed

    def _now(self) -> list[RunRow]:
        with self._lock:
            if time.monotonic() - self._read_at > self._every_s:
                self._rows, self._read_at = indexed(self._runs).rows, time.monotonic()
            return self._rows
