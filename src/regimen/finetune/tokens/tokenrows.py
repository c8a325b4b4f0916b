"""Tokenized rows as a sequence of dicts of NumPy views: random access without a copy, however many rows there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class TokenRows(Sequence[Mapping[str, Any]]):
    """The rows of a `datasets.Dataset`. Lists of numbers are views of its memory (mapped from disk where it is on
    disk).

    Reading a row takes microseconds, where `dataset[i]` takes a hundred of them and a Python object a token.
    """

    def __init__(self, dataset: datasets.Dataset) -> None:
        plain = dataset.flatten_indices() if dataset._indices is not None else dataset
        self.columns = {name: _column(plain.data.column(name)) for name in plain.column_names}
        self._len = len(plain)

    def __len__(self) -> int:
        return self._len

    @overload
    def __getitem__(self, index: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._len))]
        if not 0 <= index < self._len:
            raise IndexError(index)
        row = {name: column[index] for name, column in self.columns.items()}
        row.setdefault("row", index)
        return row

    def add_column(self, name: str, values: NDArray[Any]) -> None:
        """One more number for each row, shape (rows,)."""
        assert len(values) == self._len
        self.columns[name] = _Scalars(values)

    def lengths(self, *names: str) -> NDArray[np.int64]:
        """Tokens of each row in these columns together, shape (rows,)."""
        total = np.zeros(self._len, dtype=np.int64)
        for name in names:
            total += self.columns[name].lengths()
        return total


class _Scalars:
    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def __getitem__(self, index: int) -> Any:
        value = self._values[index]
        return value.item() if isinstance(value, np.generic) else value

    def lengths(self) -> NDArray[np.int64]:
        raise TypeError("a column of numbers has no lengths")


class _Lists:
    """A column of lists, chunk by chunk."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._values = [chunk.values.to_numpy(zero_copy_only=False) for chunk in column.chunks]
        self._offsets = [chunk.offsets.to_numpy() for chunk in column.chunks]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])

    def __getitem__(self, index: int) -> NDArray[Any]:
        chunk = int(np.searchsorted(self._starts, index, side="right")) - 1
        at = index - int(self._starts[chunk])
        offsets = self._offsets[chunk]
        view: NDArray[Any] = self._values[chunk][offsets[at] : offsets[at + 1]]
        return view

    def lengths(self) -> NDArray[np.int64]:
        return np.concatenate([np.diff(offsets) for offsets in self._offsets] or [np.zeros(0)]).astype(np.int64)


def _column(column: pa.ChunkedArray) -> _Scalars | _Lists:
    return (
        _Lists(column)
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
        else _Scalars(column.to_numpy())
    )
