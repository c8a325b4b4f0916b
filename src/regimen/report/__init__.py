"""The report of a run: `report.html` in its folder, one page that a stranger can read without a network."""

from __future__ import annotations

from pathlib import Path

from regimen.records.reader import Record
from regimen.records.writer import replace_file
from regimen.report.page import report_page

__all__ = ["report_page", "write_report"]


def write_report(record: Record) -> Path:
    """Writes `report.html` into the run's folder, replacing an earlier one, and returns its path.

    The record may be of a run that has not ended, or ended badly. Raises `RecordError` if it cannot be read and
    `DiskFull` if there is no room; the earlier page then stays.
    """
    path = record.folder / "report.html"
    replace_file(path, report_page(record).encode(), durable=False)
    return path
