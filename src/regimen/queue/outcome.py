"""The end of a run that could not write it itself: killed, or refused before its record was open."""

from __future__ import annotations

from pathlib import Path

from regimen.endings import status_of
from regimen.errors import RecordError, RegimenError
from regimen.records.reader import load
from regimen.records.writer import FINAL, RecordWriter, Status


def write_end(folder: Path, error: RegimenError) -> None:
    """Records `error` as the run's end, unless the run has recorded one."""
    end(folder, status_of(error), str(error), exit_code=error.exit_code)


def end(folder: Path, status: Status, message: str, *, exit_code: int | None = None) -> bool:
    """Gives a run that has none a final status. False if it has one, or a process trains it now."""
    record = load(folder)
    if record.state.get("status") in FINAL:
        return False
    try:
        writer = RecordWriter(folder, record.id)
    except RecordError:
        return False
    try:
        writer.status(status, message=message, exit_code=exit_code)
    finally:
        writer.close()
    return True
