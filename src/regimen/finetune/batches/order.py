"""The order of an epoch: which rows form which batch, so that rows of one batch have similar lengths.

Rows are shuffled, cut into windows of `WINDOW_BATCHES` batches, sorted by length within a window, cut into batches,
and the batches are shuffled again. Padding is then a few percent, while any two rows can still meet in a batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# Large enough that padding is under 5 % for log-normal lengths, small enough that the composition stays random:
# a window of 64 batches of 8 rows is 512 rows.
WINDOW_BATCHES = 64


def length_batches(
    lengths: NDArray[np.integer],
    batch_size: int,
    generator: np.random.Generator,
    *,
    group: bool = True,
    max_tokens: int | None = None,
) -> list[Indices]:
    """Every row exactly once, in batches of at most `batch_size` rows; a pure function of the arguments.

    `lengths` are tokens a row, shape (rows,). `group=False` is a plain shuffle. `max_tokens` also bounds the padded
    size of a batch, rows times the longest row; a row longer than that is a batch of its own. The last batch of a
    window may be short, and none is dropped.

    >>> batches = length_batches(np.array([3, 9, 4, 8, 5]), 2, np.random.default_rng(0))
    >>> sorted(np.concatenate(batches).tolist())
    [0, 1, 2, 3, 4]
    """
    order = generator.permutation(len(lengths)).astype(np.int64)
    window = max(1, batch_size * WINDOW_BATCHES) if group else max(1, len(order))
    batches: list[Indices] = []
    for start in range(0, len(order), window):
        rows = order[start : start + window]
        if group:
            rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches += _cut(rows, lengths, batch_size, max_tokens)
    return [batches[place] for place in generator.permutation(len(batches))]


def sorted_batches(lengths: NDArray[np.integer], batch_size: int, max_tokens: int | None = None) -> list[Indices]:
    """Every row once, longest first and without chance: for evaluation and references, where order has no effect.

    Longest first, so that a batch that does not fit in memory fails at once.
    """
    rows = np.argsort(-np.asarray(lengths), kind="stable").astype(np.int64)
    return _cut(rows, lengths, batch_size, max_tokens)


def padding_fraction(lengths: NDArray[np.integer], batches: Iterable[Indices]) -> float:
    """The share of the padded batches that is padding, in [0, 1).

    >>> padding_fraction(np.array([4, 2]), [np.array([0, 1])])
    0.25
    """
    batches = list(batches)
    real = sum(int(lengths[batch].sum()) for batch in batches)
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in batches)
    return 1.0 - real / padded if padded else 0.0


def _cut(rows: Indices, lengths: NDArray[np.integer], batch_size: int, max_tokens: int | None) -> list[Indices]:
    if max_tokens is None:
        return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    batches: list[Indices] = []
    start, longest = 0, 0
    for place, row in enumerate(rows):
        longest = max(longest, int(lengths[row]))
        size = place - start + 1
        if size > 1 and (size > batch_size or longest * size > max_tokens):
            batches.append(rows[start:place])
            start, longest = place, int(lengths[row])
    return [*batches, rows[start:]] if len(rows) else []
