"""Epoch orders and packing: every row exactly once, the same for the same seed, and with little padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimen.errors import SpecError
from regimen.finetune.batches.order import Indices, length_batches, padding_fraction, sorted_batches
from regimen.finetune.batches.packing import pack

LENGTHS = st.lists(st.integers(1, 60), max_size=120).map(lambda values: np.array(values, dtype=np.int64))


def rows_of(batches: list[Indices]) -> list[int]:
    return sorted(int(row) for batch in batches for row in batch)


def lognormal(count: int) -> np.ndarray:
    return np.clip(np.exp(np.random.default_rng(0).normal(4, 0.75, count)), 4, 500).astype(np.int64)


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.integers(1, 9), st.booleans(), st.one_of(st.none(), st.integers(1, 200)), st.integers(0, 3))
def test_an_epoch_has_every_row_once(
    lengths: np.ndarray, batch_size: int, group: bool, max_tokens: int | None, seed: int
) -> None:
    def order() -> list[Indices]:
        return length_batches(lengths, batch_size, np.random.default_rng(seed), group=group, max_tokens=max_tokens)

    batches = order()
    assert rows_of(batches) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in order()]
    if max_tokens is not None:
        assert all(len(batch) == 1 or lengths[batch].max() * len(batch) <= max_tokens for batch in batches)


def test_only_the_last_batch_of_a_window_is_short() -> None:
    sizes = sorted(len(batch) for batch in length_batches(lognormal(1001), 8, np.random.default_rng(0)))
    assert sizes == [1] + [8] * 125


def test_epochs_differ() -> None:
    first, second = (length_batches(lognormal(64), 8, np.random.default_rng([7, epoch])) for epoch in (0, 1))
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]


def test_grouping_keeps_padding_small() -> None:
    lengths = lognormal(4000)
    grouped = length_batches(lengths, 8, np.random.default_rng(0))
    shuffled = length_batches(lengths, 8, np.random.default_rng(0), group=False)
    assert padding_fraction(lengths, grouped) < 0.1 < 0.4 < padding_fraction(lengths, shuffled)


def test_grouped_batches_do_not_come_in_order_of_length() -> None:
    lengths = lognormal(500)  # one window, which is sorted
    means = [float(lengths[batch].mean()) for batch in length_batches(lengths, 8, np.random.default_rng(0))]
    assert abs(float(np.corrcoef(means, np.arange(len(means)))[0, 1])) < 0.4


def test_sorted_batches_start_with_the_longest() -> None:
    lengths = lognormal(50)
    batches = sorted_batches(lengths, 8)
    assert rows_of(batches) == list(range(50))
    assert lengths[batches[0]].max() == lengths.max()
    assert padding_fraction(lengths, []) == 0.0


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.integers(60, 200))
def test_packing_has_every_row_once_and_overfills_no_bin(lengths: np.ndarray, capacity: int) -> None:
    bins = pack(lengths, capacity)
    assert rows_of(bins) == list(range(len(lengths)))
    sizes = [int(lengths[rows].sum()) for rows in bins]
    assert all(size <= capacity for size in sizes)
    # Best fit leaves at most one bin that is half empty.
    assert sum(size * 2 <= capacity for size in sizes) <= 1
    assert [rows.tolist() for rows in bins] == [rows.tolist() for rows in pack(lengths, capacity)]


@settings(deadline=None, max_examples=60)
@given(LENGTHS, st.integers(60, 200))
def test_packing_is_best_fit_longest_first(lengths: np.ndarray, capacity: int) -> None:
    rooms: list[int] = []
    for length in sorted(lengths.tolist(), reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - length)
    assert sorted(capacity - int(lengths[rows].sum()) for rows in pack(lengths, capacity)) == sorted(rooms)


def test_packing_leaves_little_room() -> None:
    lengths = lognormal(2000)
    assert lengths.sum() / (len(pack(lengths, 1024)) * 1024) > 0.98


def test_packing_refuses_a_row_that_fits_nowhere() -> None:
    with pytest.raises(SpecError, match=r"61 tokens.*holds 60"):
        pack(np.array([3, 61]), 60)
