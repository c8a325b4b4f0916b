"""Reads CSV and TSV: the first line names the columns, and every record has as many cells as it has names."""

from __future__ import annotations

import csv
import hashlib
import io
from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from regimen.errors import DataError, Problem
from regimen.finetune.data.findings import Findings, shown
from regimen.finetune.data.jsonl import BOM, LONGEST_LINE
from regimen.finetune.data.strictjson import MalformedError, utf8
from regimen.finetune.data.table import Place, Row, StoredRows


class _Lines:
    """The lines of a file as text, with the byte and the number of the next one."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file, self.digest = path, file, hashlib.sha256()
        self.byte, self.number = 0, 0

    def __iter__(self) -> Iterator[str]:
        self.file.seek(0)
        while raw := self.file.readline(LONGEST_LINE + 1):
            self.digest.update(raw)
            self.number += 1
            self.byte += len(raw)
            if len(raw) > LONGEST_LINE:
                raise MalformedError(
                    f"is longer than {LONGEST_LINE // 2**20} MiB.", "Check its quotes and line breaks."
                )
            yield utf8(raw.removeprefix(BOM) if self.number == 1 else raw)


def read_csv(path: Path, file: BinaryIO, delimiter: str) -> StoredRows:
    """The rows of a CSV (`delimiter` ",") or TSV (tab) file; every value is text.

    Raises `DataError` with all that is wrong.
    """
    csv.field_size_limit(LONGEST_LINE)
    lines = _Lines(path, file)
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    findings, starts, numbers = Findings(), array("Q"), array("Q")
    header: list[str] = []
    start, first = 0, 1
    try:
        for cells in reader:
            if not header and cells:
                header = cells
                _check_header(Place(path, first), header, delimiter, findings)
            elif cells:
                _check_cells(Place(path, first), cells, header, findings)
                starts.append(start)
                numbers.append(first)
            start, first = lines.byte, lines.number + 1
    except csv.Error as error:
        findings.add(Place(path, first), f"the record cannot be read: {error}.", _QUOTES)
    except MalformedError as error:
        findings.add(Place(path, lines.number), error.message, error.fix)
    findings.raise_data_error()
    if not starts:
        raise DataError(Problem(str(path), "has a header and no row.", "It must hold at least one record."))
    starts.append(lines.byte)
    parse = partial(_parse_record, header, delimiter)
    return StoredRows(path, file, starts, numbers, parse, header, lines.digest.hexdigest())


_QUOTES = 'Put a cell with a comma, a quote or a line break in "quotes", and double a quote inside ("").'


def _parse_record(header: list[str], delimiter: str, raw: bytes) -> Row:
    text = io.StringIO(raw.decode("utf-8"), newline="")
    try:
        cells = next(csv.reader(text, delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        raise ValueError("not a record") from None
    return dict(zip(header, cells, strict=True))


def _check_header(place: Place, header: list[str], delimiter: str, findings: Findings) -> None:
    other = next((mark for mark in ";\t|," if mark != delimiter and len(header) == 1 and mark in header[0]), None)
    if other:
        findings.add(
            place, f"is one column, {header[0]!r}, cut by {other!r}.", "Save it with commas (.csv) or tabs (.tsv)."
        )
        return
    for name in sorted({name for name in header if header.count(name) > 1 and name}):
        findings.add(place, f"the header names the column {name!r} twice.", "Give each column a name of its own.")
    if any(not name.strip() for name in header):
        findings.add(
            place, f"column {[bool(n.strip()) for n in header].index(False) + 1} of the header has no name.", _HEADER
        )
    data = next((name for name in header if len(name) > 100 or "\n" in name or _is_number(name)), None)
    if data is not None:
        findings.add(place, f"has {shown(data)} where a column's name is expected.", _HEADER)


_HEADER = "Write the columns' names in the first line, e.g. prompt,completion."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_cells(place: Place, cells: list[str], header: list[str], findings: Findings) -> None:
    if len(cells) != len(header):
        findings.add(place, f"has {len(cells)} cells, and the header names {len(header)} columns.", _QUOTES)
