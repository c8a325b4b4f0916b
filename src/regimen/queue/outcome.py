"""What becomes of a run whose process could not write it itself: killed, or refused before its record was open."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from regimen.endings import status_of
from regimen.errors import RecordError, RegimenError
from regimen.records.reader import load
from regimen.records.writer import FINAL, RecordWriter, Status

FAILURES: frozenset[Status] = FINAL - {"completed", "stopped"}
"""After which a queue that does not go on after a failure pauses."""


def write_end(folder: Path, error: RegimenError) -> None:
    """Records `error` as the run's end, unless the run has recorded one."""
    end(folder, status_of(error), str(error), exit_code=error.exit_code)


def end(folder: Path, status: Status, message: str, *, exit_code: int | None = None, **details: Any) -> bool:
    """Gives a run that has none a final status. False if it has one, or a process trains it now."""
    return _written(folder, status, message=message, exit_code=exit_code, **details)


def wait_again(folder: Path, attempt: int, why: str) -> bool:
    """Records that a run whose process died waits for another. False if it has ended, or a process trains it now."""
    return _written(folder, "queued", deaths=attempt, last_death=why, queued_at=time.time())


def _written(folder: Path, status: Status, **details: Any) -> bool:
    record = load(folder)
    if record.state.get("status") in FINAL:
        return False
    try:
        writer = RecordWriter(folder, record.id)
    except RecordError:
        return False
    try:
        writer.status(status, **details)
    finally:
        writer.close()
    return True
