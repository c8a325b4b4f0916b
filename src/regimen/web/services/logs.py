"""What a run printed: its log since a byte, and its last lines."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from regimen.records.reader import Record

Source = Literal["log", "process"]
_FILES: dict[Source, str] = {"log": "log.txt", "process": "process.txt"}
"""`log`: what was printed while it trained; `process`: what its processes printed before and after."""
MOST_BYTES = 1 << 18
"""Of one answer."""
_LINE_BYTES = 200


class LogPage(NamedTuple):
    text: str
    cursor: int
    """The byte at which the next page begins."""
    size: int
    """Bytes of the log as it is now."""


def log_since(record: Record, after: int = 0, source: Source = "log") -> LogPage:
    """The log from a byte on, whole characters only. A byte beyond its end is its end."""
    try:
        with (record.folder / _FILES[source]).open("rb") as log:
            size = log.seek(0, 2)
            start = log.seek(max(0, min(after, size)))
            data = log.read(MOST_BYTES)
    except FileNotFoundError:
        return LogPage("", 0, 0)
    data = data[: len(data) - _cut_character(data)]
    return LogPage(data.decode("utf-8", "replace"), start + len(data), size)


def tail(record: Record, lines: int = 40) -> list[str]:
    """The last lines of a run's log; where it printed nothing while it trained, of what its processes printed."""
    return _last_lines(record.folder / _FILES["log"], lines) or _last_lines(record.folder / _FILES["process"], lines)


def _last_lines(path: Path, lines: int) -> list[str]:
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - _LINE_BYTES * lines))
            return log.read().decode("utf-8", "replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []


def _cut_character(data: bytes) -> int:
    """How many bytes at the end begin a UTF-8 character whose others are not there yet."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return back if length > back else 0
    return 0
