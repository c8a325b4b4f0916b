"""Batches of an epoch as a pure function of (seed, epoch): skipping to the middle draws nothing and reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from regimen.randomness import derived_generator, derived_seed

B = TypeVar("B", covariant=True)
Indices = NDArray[np.int64]
"""Rows of one batch."""


def on_device(batch: Any, device: torch.device) -> Any:
    """A batch on a device: anything with `to`, or a mapping, list or tuple of such; what cannot be moved stays.

    What can be pinned (`pin_memory()`: tensors, and our own batches) is copied to a GPU without waiting for it.
    """
    if hasattr(batch, "to"):
        if device.type == "cuda" and hasattr(batch, "pin_memory"):
            return batch.pin_memory().to(device, non_blocking=True)
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: on_device(value, device) for name, value in batch.items()}
    if isinstance(batch, list | tuple) and not hasattr(batch, "_fields"):
        return type(batch)(on_device(value, device) for value in batch)
    return batch


class Batches(Protocol[B]):
    """What the trainer reads."""

    def __len__(self) -> int:
        """Batches an epoch, on one process."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[B | None]:
        """The batches of an epoch (from 0) from position `start` on; None where this process has no share of one."""
        ...


class Loader(Generic[B]):
    """Batches of a dataset.

    `order(epoch)` gives the rows of each batch; `collate(items)` makes a batch of them; `augment(item, generator)` may
    change an item at random, and its generator comes from (seed, epoch, row), so neither the number of workers nor a
    resume changes what it draws. With several processes, each takes every `world`-th row of every batch.
    """

    def __init__(
        self,
        data: Sequence[Any],
        order: Callable[[int], Sequence[Indices]],
        collate: Callable[[list[Any]], B],
        *,
        seed: int,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.data, self.order, self.collate, self.augment = data, order, collate, augment
        self.seed, self.workers, self.rank, self.world = seed, workers, rank, world
        self._num_batches = len(order(0))

    def __len__(self) -> int:
        return self._num_batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[B | None]:
        batches = self.order(epoch)[start:]
        shares = [rows[self.rank :: self.world] for rows in batches]
        if self.workers == 0:
            return (self._batch(rows, epoch) for rows in shares)
        generator = torch.Generator().manual_seed(
            derived_seed(self.seed, "workers", epoch)
        )  # else it would draw from the global one
        loader: DataLoader[B | None] = DataLoader(
            _Epoch(self, shares, epoch), batch_size=None, num_workers=self.workers, generator=generator
        )
        return iter(loader)

    def _batch(self, rows: Indices, epoch: int) -> B | None:
        if len(rows) == 0:
            return None
        items = [self.data[int(row)] for row in rows]
        if self.augment is not None:
            items = [
                self.augment(item, derived_generator(self.seed, "item", epoch, int(row)))
                for item, row in zip(items, rows, strict=True)
            ]
        return self.collate(items)


class _Epoch(Dataset[Any]):
    """One epoch's batches by position, for worker processes."""

    def __init__(self, loader: Loader[Any], shares: Sequence[Indices], epoch: int) -> None:
        self.loader, self.shares, self.number = loader, shares, epoch

    def __len__(self) -> int:
        return len(self.shares)

    def __getitem__(self, position: int) -> Any:
        return self.loader._batch(self.shares[position], self.number)
