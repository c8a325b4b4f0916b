"""Splits rows into train and valid by a seed, and finds rows that stand in both."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from regimen.errors import Problem, SpecError
from regimen.finetune.data.duplicates import content_key
from regimen.finetune.data.layouts import Layout
from regimen.finetune.data.table import Place, Row, Rows


class Split(NamedTuple):
    """Indices of the rows of each part, ascending; together they are every row once."""

    train: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]


def split_rows(rows: int, valid_fraction: float, seed: int) -> Split:
    """A random part of `valid_fraction` (0 <= x < 1) of the rows, at least one when it is above 0; the same for a seed.

    Raises `SpecError` when the fraction is out of range or would leave no row to train on.
    """
    if not 0 <= valid_fraction < 1:
        raise SpecError(Problem("task.data.eval_split", f"is {valid_fraction}, expected 0 <= x < 1.", "Try 0.1."))
    count = max(1, round(rows * valid_fraction)) if valid_fraction else 0
    if rows - count < 1:
        message = f"{valid_fraction} of {rows} rows leaves none to train on."
        raise SpecError(Problem("task.data.eval_split", message, "Give more rows, or a file of its own for valid."))
    order = np.random.Generator(np.random.PCG64(seed)).permutation(rows)
    return Split(np.sort(order[count:]), np.sort(order[:count]))


@dataclass
class Overlap:
    """How many rows of valid stand in train too: to the letter, or but for case and spaces."""

    exact: int = 0
    normalized: int = 0
    """Includes the exact ones."""
    places: list[tuple[Place, Place]] = field(default_factory=list)
    """The first five: the row of valid, and the row of train."""


def overlap(train: Rows, valid: Rows, layout: Layout, valid_layout: Layout | None = None) -> Overlap:
    """Rows of `valid` whose content is in `train`. Memory: 16 bytes a row of train."""
    exact, normalized = array("Q"), array("Q")
    for row in train:
        content = _content(row, layout)
        exact.append(content_key(content))
        normalized.append(content_key(_normal(content)))
    exact_order, normal_order = _Lookup(exact), _Lookup(normalized)
    found = Overlap()
    for index, row in enumerate(valid):
        content = _content(row, valid_layout or layout)
        found.exact += exact_order.find(content_key(content)) is not None
        twin = normal_order.find(content_key(_normal(content)))
        if twin is not None:
            found.normalized += 1
            if len(found.places) < 5:
                found.places.append((valid.place(index), train.place(twin)))
    return found


class _Lookup:
    """Finds the row of a key among sorted keys."""

    def __init__(self, keys: array[int]) -> None:
        values = np.frombuffer(keys, dtype=np.uint64) if keys else np.zeros(0, dtype=np.uint64)
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]

    def find(self, key: int) -> int | None:
        at = int(np.searchsorted(self._sorted, np.uint64(key)))
        return int(self._order[at]) if at < len(self._sorted) and int(self._sorted[at]) == key else None


def _content(row: Row, layout: Layout) -> list[str]:
    return list(_texts(row.get(column) for column in layout.columns.values()))


def _texts(values: Iterable[object]) -> Iterable[str]:
    """All texts inside nested values, in order, without the names of their fields."""
    for value in values:
        if isinstance(value, dict):
            yield from _texts(value.values())
        elif isinstance(value, list):
            yield from _texts(value)
        elif value is not None:
            yield str(value)


def _normal(texts: list[str]) -> list[str]:
    return [" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts]
