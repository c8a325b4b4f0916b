"""Reads Parquet through pyarrow, one row group in memory at a time."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from regimen.errors import DataError, Problem
from regimen.finetune.data.table import Place, Row, Rows


class ParquetRows(Rows):
    """The rows of a Parquet file; the row group read last stays in memory, so reading in order is cheap."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        try:
            self._parquet = pq.ParquetFile(file)
        except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
            message = f"is not a Parquet file that can be read: {str(error).splitlines()[0]}"
            raise DataError(Problem(str(path), message, "Write or download it again.")) from None
        metadata = self._parquet.metadata
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        if not len(self):
            raise DataError(Problem(str(path), "holds no row.", "It must hold at least one."))
        self._group = 0
        self._table = self._read_group(0)
        self.source, self.notes = str(path), []
        self.columns = [str(name) for name in self._parquet.schema_arrow.names]

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, index: int) -> Row:
        group = bisect_right(self._starts, index) - 1
        if group != self._group:
            self._table, self._group = self._read_group(group), group
        row: Row = self._table.slice(index - self._starts[group], 1).to_pylist()[0]
        return row

    def _read_group(self, group: int) -> pa.Table:
        try:
            return self._parquet.read_row_group(group)
        except (pa.ArrowException, OSError) as error:
            message = f"row group {group} cannot be read: {str(error).splitlines()[0]}"
            raise DataError(Problem(str(self._path), message, "Write or download it again.")) from None

    def __iter__(self) -> Iterator[Row]:
        for group in range(len(self._starts) - 1):
            for batch in self._read_group(group).to_batches(max_chunksize=1024):
                yield from batch.to_pylist()

    def place(self, index: int) -> Place:
        return Place(self._path, index + 1, "row")

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        self._file.seek(0)
        while block := self._file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
