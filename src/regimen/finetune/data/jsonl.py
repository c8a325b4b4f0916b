"""Reads JSON Lines: every line is checked once, all that are wrong are reported together, and only offsets are kept."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path
from typing import BinaryIO

from regimen.errors import DataError, Problem
from regimen.finetune.data.findings import Findings
from regimen.finetune.data.strictjson import MalformedError, parse_row
from regimen.finetune.data.table import Place, StoredRows

LONGEST_LINE = 64 * 2**20
"""Bytes; a longer line is a file that is not JSON Lines, and would have to be held in memory."""
MOST_SHAPES = 4096
"""How many different sets of keys the rows of one file may have."""
BOM = b"\xef\xbb\xbf"


class _Scan:
    """The state of one pass over a file."""

    def __init__(self, shown: Path) -> None:
        self.shown, self.findings, self.digest = shown, Findings(), hashlib.sha256()
        self.starts, self.lines = array("Q"), array("Q")
        self.shapes: dict[tuple[str, ...], None] = {}
        self.blank: list[int] = []

    def line(self, number: int, start: int, raw: bytes) -> None:
        try:
            row = parse_row(raw)
        except MalformedError as error:
            self.findings.add(Place(self.shown, number), error.message, error.fix)
            return
        self.starts.append(start)
        self.lines.append(number)
        self.shapes[tuple(row)] = None
        if len(self.shapes) > MOST_SHAPES:
            message = f"the rows up to here have more than {MOST_SHAPES:,} different sets of keys."
            raise DataError(Problem(str(Place(self.shown, number)), message, "Use the same field names in every row."))


def read_jsonl(shown: Path, file: BinaryIO) -> StoredRows:
    """The rows of a JSON Lines file. Raises `DataError` with every malformed line (the first twenty are listed).

    Blank lines are passed over and noted, a byte order mark is accepted, and a line above 64 MiB is refused.
    """
    scan, number, start = _Scan(shown), 0, 0
    file.seek(0)
    while raw := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            message = f"is longer than {LONGEST_LINE // 2**20} MiB."
            scan.findings.add(Place(shown, number), message, "Write one row a line, ended by a line break.")
            break
        scan.digest.update(raw)
        skip = len(BOM) if number == 1 and raw.startswith(BOM) else 0
        if raw[skip:].isspace():
            scan.blank.append(number)
        else:
            scan.line(number, start + skip, raw[skip:])
        start += len(raw)
    scan.findings.raise_data_error()
    if not scan.starts:
        raise DataError(Problem(str(shown), "holds no row.", "It must hold at least one JSON object."))
    return _rows(scan, shown, file, start, number)


def _rows(scan: _Scan, shown: Path, file: BinaryIO, end: int, last: int) -> StoredRows:
    scan.starts.append(end)
    inside = [line for line in scan.blank if line < scan.lines[-1]]
    notes = [f"{shown}: {len(inside):,} blank lines passed over, the first at line {inside[0]}."] if inside else []
    columns = dict.fromkeys(key for shape in scan.shapes for key in shape)
    lines = scan.lines if inside else None
    return StoredRows(shown, file, scan.starts, lines, parse_row, columns, scan.digest.hexdigest(), notes)
