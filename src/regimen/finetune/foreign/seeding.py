"""Makes what a transformers trainer draws at random follow from numbers: the order of an epoch, an item, a step.

Transformers saves the states of the global generators instead. That loses data sets that draw while an item is read:
the loader reads one batch ahead, so a resumed run draws at another moment.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from regimen.randomness import derived_seed


def seed_everything(seed: int) -> None:
    """Seeds the global generators of torch (all devices), NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


class SeededItems(Dataset[Any]):
    """A data set whose items are read with the generators seeded from (seed, epoch, index)."""

    def __init__(self, data: Any, seed: int) -> None:
        self.data, self.seed, self.epoch = data, seed, 0

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        seed_everything(derived_seed(self.seed, self.epoch, str(index)))
        return self.data[index]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        if not hasattr(self.data, "__getitems__"):
            return [self[index] for index in indices]
        seed_everything(derived_seed(self.seed, self.epoch, str(indices)))
        items: list[Any] = self.data.__getitems__(indices)
        return items

    def __getattr__(self, name: str) -> Any:
        if name == "data" or name.startswith("__"):  # not there yet while it is unpickled in a worker
            raise AttributeError(name)
        return getattr(self.data, name)


def seed_items(loader: Any, seed: int) -> SeededItems | None:
    """Has the loader read its data set through `SeededItems`; a stream has no items to seed and is left as it is."""
    if isinstance(loader.dataset, IterableDataset):
        return None
    items = SeededItems(loader.dataset, seed)
    for part in (loader, getattr(loader, "base_dataloader", None)):
        if isinstance(part, DataLoader):
            object.__setattr__(part, "dataset", items)  # a DataLoader forbids `loader.dataset = ...`
    return items


def reseed_samplers(loader: Any, seed: int) -> None:
    """Sets every generator of the loader's samplers: some draw on from epoch to epoch, and a resume skips epochs."""
    for part in _parts(loader):
        generator = getattr(part, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)


def _parts(loader: Any) -> Iterator[Any]:
    waiting, seen = [loader], set()
    while waiting:
        part = waiting.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting += [getattr(part, name, None) for name in ("base_dataloader", "sampler", "batch_sampler")]
