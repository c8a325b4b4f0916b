"""Examples in memory, and the four splits that every test problem has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

SPLIT_SEED = 42
"""Which examples validate: the same for every run, whatever its own seed, so that seeds compare the same thing."""


class Indexed(Protocol):
    """Rows that a tensor of row numbers picks from: a tensor, or pictures that are decoded when they are asked for."""

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Examples:
    """Inputs and their targets, row by row. A problem without targets repeats its inputs."""

    inputs: Indexed
    targets: Indexed

    def __post_init__(self) -> None:
        assert len(self.inputs) == len(self.targets), "inputs and targets differ in number"

    @property
    def num_rows(self) -> int:
        return len(self.inputs)

    def take(self, rows: Tensor) -> Examples:
        """These rows as examples of their own."""
        if isinstance(self.inputs, Tensor):
            inputs = self.inputs[rows]
            return Examples(inputs, inputs if self.targets is self.inputs else self.targets[rows])
        return Examples(Part(self.inputs, rows), self.targets[rows])


@dataclass(frozen=True)
class Part:
    """Some rows of inputs that do not lie in memory."""

    whole: Indexed
    rows: Tensor

    def __getitem__(self, rows: Tensor) -> Tensor:
        return self.whole[self.rows[rows.cpu()]]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Splits:
    """What a problem is trained and judged on.

    `train_eval` are rows of `train`, looked at without augmentation; `valid` shares no row with `train`.
    """

    train: Examples
    train_eval: Examples
    valid: Examples
    test: Examples

    @classmethod
    def made(cls, train: Examples, test: Examples, *, valid_rows: int) -> Splits:
        """Takes `valid_rows` out of `train`, and as many of the rest (or all of it) for `train_eval`.

        Always the same rows. Raises `ValueError` where too few rows would be left to train on.
        """
        if not 0 < valid_rows < train.num_rows:
            raise ValueError(f"{valid_rows} of {train.num_rows} rows cannot be taken for validation")
        shuffled = torch.from_numpy(np.random.default_rng(SPLIT_SEED).permutation(train.num_rows))
        valid, rest = shuffled[:valid_rows], shuffled[valid_rows:]
        return cls(train.take(rest), train.take(rest[:valid_rows]), train.take(valid), test)
