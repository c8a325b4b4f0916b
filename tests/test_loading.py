"""Batches as a function of (seed, epoch): shares, workers, the middle of an epoch, and moving to a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regimen import run
from regimen.loading import Indices, Loader, on_device
from regimen.randomness import derived_generator


def loader(rows: int, size: int, *, workers: int = 0, rank: int = 0, world: int = 1) -> Loader[list[float]]:
    """Rows that are their own number, with noise from the row's own generator."""

    def order(epoch: int) -> list[Indices]:
        shuffled = derived_generator(7, epoch).permutation(rows)
        return [shuffled[start : start + size] for start in range(0, rows, size)]

    def noisy(item: float, generator: np.random.Generator) -> float:
        return item + 0.5 * generator.random()

    return Loader(range(rows), order, list, seed=3, augment=noisy, workers=workers, rank=rank, world=world)


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 40), size=st.integers(1, 9), world=st.integers(1, 5), epoch=st.integers(0, 3))
def test_the_shares_of_all_processes_are_the_batches_of_one(rows: int, size: int, world: int, epoch: int) -> None:
    whole = list(loader(rows, size).epoch(epoch))
    shares = [list(loader(rows, size, rank=rank, world=world).epoch(epoch)) for rank in range(world)]
    assert [len(share) for share in shares] == [len(whole)] * world
    for batch, *parts in zip(whole, *shares, strict=True):
        assert batch is not None
        assert sorted(item for part in parts for item in part or []) == sorted(batch)
        assert max(len(part or []) for part in parts) - min(len(part or []) for part in parts) <= 1


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 40), size=st.integers(1, 9), start=st.integers(0, 40))
def test_an_epoch_goes_on_from_any_batch(rows: int, size: int, start: int) -> None:
    made = loader(rows, size)
    assert list(made.epoch(1, start)) == list(made.epoch(1))[start:]


def test_workers_change_nothing_and_draw_nothing() -> None:
    before = torch.get_rng_state()
    assert list(loader(20, 4, workers=2).epoch(2)) == list(loader(20, 4).epoch(2))
    assert torch.equal(torch.get_rng_state(), before)


class Odd:
    """Has a `to` of its own, which takes a device and nothing else."""

    def to(self, device: torch.device) -> str:
        return f"on {device.type}"


class Pair(NamedTuple):
    one: int


def test_whatever_a_collate_returns_is_moved() -> None:
    meta = torch.device("meta")
    batch: dict[str, Any] = {"ids": torch.ones(2), "more": [torch.ones(1), 3], "pair": (Odd(), "text"), "odd": Pair(1)}
    moved = on_device(batch, meta)
    assert (moved["ids"].device.type, moved["more"][0].device.type) == ("meta", "meta")
    assert (moved["more"][1], moved["pair"], moved["odd"]) == (3, ("on meta", "text"), Pair(1))


def test_a_run_leaves_the_settings_of_its_caller(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(
        {
            "task": {"name": "sorting", "train_rows": 4, "valid_rows": 2},
            "strategy": "sft",
            "budget": {"steps": 1},
            "threads": 2,
        }
    )
    assert torch.get_num_threads() == before
    assert torch.tensor(1e-310, dtype=torch.float64) * 1 != 0  # subnormal numbers are numbers again
