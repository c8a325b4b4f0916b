"""Rows of a data source with the file and line that each one came from, read on demand.

A `Rows` holds no row in memory: a reader checks the whole file once, keeps where each row starts (8 bytes a row), and
parses a row again when it is asked for. Reading is by position in the file, so threads and forked processes may share
it.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, overload

from regimen.errors import DataError, Problem

Row = Mapping[str, object]


class Place(NamedTuple):
    """Where a row came from: a line of a text file (1-based), or a row of a file that has no lines.

    >>> str(Place(Path("train.jsonl"), 17)), str(Place(Path("train.parquet"), 17, "row"))
    ('train.jsonl:17', 'train.parquet row 17')
    """

    path: Path
    line: int
    unit: Literal["line", "row"] = "line"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.unit == "line" else f"{self.path} row {self.line}"


class Rows(Sequence[Row]):
    """Rows by index: `source` is what the user wrote, `columns` all rows' fields, `notes` what was passed over."""

    source: str
    columns: list[str]
    notes: list[str]

    @abstractmethod
    def read(self, index: int) -> Row:
        """The row at `index`, 0 <= index < len(self)."""

    @abstractmethod
    def place(self, index: int) -> Place:
        """Where the row at `index` came from."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """The sha256 of the content, in hexadecimal: equal for equal content under another name."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return self.read(index % len(self))

    def __iter__(self) -> Iterator[Row]:
        return (self.read(index) for index in range(len(self)))

    def select(self, indices: Iterable[int]) -> Rows:
        """A view of some rows, in the order of `indices`; every row keeps its place."""
        return SelectedRows(self, indices)


class SelectedRows(Rows):
    """Some rows of another `Rows`, in an order of their own."""

    def __init__(self, rows: Rows, indices: Iterable[int]) -> None:
        self._rows = rows
        self._indices = array("Q", indices)
        self.source, self.columns, self.notes = rows.source, rows.columns, []

    def __len__(self) -> int:
        return len(self._indices)

    def read(self, index: int) -> Row:
        return self._rows.read(self._indices[index])

    def place(self, index: int) -> Place:
        return self._rows.place(self._indices[index])

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self._rows.fingerprint.encode() + self._indices.tobytes()).hexdigest()


class JoinedRows(Rows):
    """The rows of several files, one file after another."""

    def __init__(self, parts: Sequence[Rows], source: str) -> None:
        self._parts = parts
        self._starts: list[int] = [0]
        for part in parts:
            self._starts.append(self._starts[-1] + len(part))
        self.source = source
        self.columns = list(dict.fromkeys(column for part in parts for column in part.columns))
        self.notes = [note for part in parts for note in part.notes]

    def _locate(self, index: int) -> tuple[Rows, int]:
        part = bisect_right(self._starts, index) - 1
        return self._parts[part], index - self._starts[part]

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, index: int) -> Row:
        part, inside = self._locate(index)
        return part.read(inside)

    def place(self, index: int) -> Place:
        part, inside = self._locate(index)
        return part.place(inside)

    def __iter__(self) -> Iterator[Row]:
        return (row for part in self._parts for row in part)

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256("".join(part.fingerprint for part in self._parts).encode()).hexdigest()


class StoredRows(Rows):
    """Rows that lie one after another in a file.

    `starts` holds the byte where each row starts and, last, where the last one ends. `lines` holds the line of each
    row; None where row i is line i + 1. `parse` turns the bytes of a row, which it has accepted once, into the row;
    it raises ValueError when they are another row's.
    """

    def __init__(
        self,
        shown: Path,
        file: BinaryIO,
        starts: array[int],
        lines: array[int] | None,
        parse: Callable[[bytes], Row],
        columns: Iterable[str],
        fingerprint: str,
        notes: Iterable[str] = (),
    ) -> None:
        self._shown, self._file, self._starts, self._lines, self._parse = shown, file, starts, lines, parse
        self._fingerprint = fingerprint
        self.source, self.columns, self.notes = str(shown), list(columns), list(notes)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def read(self, index: int) -> Row:
        start, end = self._starts[index], self._starts[index + 1]
        try:
            return self._parse(os.pread(self._file.fileno(), end - start, start))
        except ValueError:
            message = "cannot be read any more: the file was changed since it was checked."
            raise DataError(Problem(str(self.place(index)), message, "Leave data alone during a run.")) from None

    def place(self, index: int) -> Place:
        return Place(self._shown, index + 1 if self._lines is None else self._lines[index])

    @property
    def fingerprint(self) -> str:
        return self._fingerprint


class ListedRows(Rows):
    """Rows that are in memory or in a `datasets.Dataset` already: they have numbers, and no file to name."""

    def __init__(self, rows: Sequence[Row], source: str, columns: Sequence[str] | None = None) -> None:
        self._rows = rows
        self.source, self.notes = source, []
        self.columns = list(dict.fromkeys(name for row in rows for name in row)) if columns is None else list(columns)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Row:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def place(self, index: int) -> Place:
        return Place(Path(self.source), index + 1, "row")

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for row in self:
            digest.update(json.dumps(row, sort_keys=True, default=repr).encode())
        return digest.hexdigest()
