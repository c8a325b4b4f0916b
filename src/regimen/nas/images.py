"""Pictures in memory for a supernet: three splits, and batches that are a function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regimen.randomness import derived_generator


class Pictures(NamedTuple):
    """Inputs (N, C, H, W) as floats, and classes (N,)."""

    inputs: Tensor
    classes: Tensor


@dataclass(frozen=True)
class PictureSplits:
    """`train` trains weights, `valid` compares architectures, `test` is looked at once, at the end."""

    train: Pictures
    valid: Pictures
    test: Pictures


Augment = Callable[[Tensor, np.random.Generator], Tensor]


class PictureBatches:
    """Training batches in a new order each epoch, the last short one left out. See `loading.Batches`."""

    def __init__(
        self,
        rows: Pictures,
        size: int,
        seed: int,
        augment: Augment,
        device: torch.device,
        order: Callable[[int], Sequence[NDArray[np.int64]]] | None = None,
    ) -> None:
        """`order(epoch)` gives the rows of each batch, the same number of batches each epoch; unset: shuffled."""
        self.rows, self.size, self.seed, self.augment = rows, min(size, len(rows.classes)), seed, augment
        self.device, self.order = device, order

    def __len__(self) -> int:
        return len(self.order(0)) if self.order else len(self.rows.classes) // self.size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Pictures]:
        if self.order:
            chosen = [torch.from_numpy(rows).to(self.device) for rows in self.order(epoch)]
        else:
            order = derived_generator(self.seed, "order", epoch).permutation(len(self.rows.classes))
            chosen = list(torch.from_numpy(order).to(self.device).split(self.size))
        for position in range(start, len(self)):
            inputs = self.rows.inputs.index_select(0, chosen[position])
            inputs = self.augment(inputs, derived_generator(self.seed, "augment", epoch, position))
            yield Pictures(inputs, self.rows.classes.index_select(0, chosen[position]))
