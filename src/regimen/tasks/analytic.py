"""A quadratic bowl with the spectrum of a deep net's Hessian, from DeepOBS (Schneider et al., arXiv:1903.05499)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from regimen.benchmark.examples import Examples, Splits
from regimen.benchmark.problem import Batch, Problem

DIMENSIONS = 100
NOISE = 0.6
"""Standard deviation of the data around 0."""
ROWS = 1000


class QuadraticDeep(Problem):
    """A noisy quadratic in 100 dimensions: nine tenths of its curvature are below 1, the rest between 30 and 60.

    The loss of row x is (w - x)' H (w - x) / 2, and w begins at 1. H and the data are those of DeepOBS' published
    results, drawn from NumPy's RandomState(42) and (43): their first 896 test rows give 353.4468 before training, as in
    the published files. The spectrum follows Chaudhari et al., arXiv:1611.01838.
    """

    name = "quadratic_deep"
    num_epochs = 100
    num_parameters = DIMENSIONS

    def read(self) -> Splits:
        train, test, valid = (_rows(seed) for seed in (42, 43, 44))
        return Splits(train, train, valid, test)

    def make_net(self) -> nn.Module:
        return Bowl(hessian())

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        losses: Tensor = outputs
        return losses

    def hits(self, outputs: Any, batch: Batch) -> Tensor | None:
        return None

    def sample(self, rows: int) -> Examples:
        return _rows(45).take(torch.arange(rows) % ROWS)


class Bowl(nn.Module):
    """(w - x)' H (w - x) / 2 for each row x of (B, D)."""

    hessian: Tensor

    def __init__(self, hessian: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(len(hessian)))
        self.register_buffer("hessian", hessian, persistent=False)

    def forward(self, x_BD: Tensor) -> Tensor:
        away_BD = self.theta - x_BD
        return 0.5 * (away_BD @ self.hessian * away_BD).sum(dim=1)


def hessian() -> Tensor:
    """(100, 100), always the same: random eigenvalues turned by a random rotation."""
    generator = np.random.RandomState(42)
    eigenvalues = np.concatenate((generator.uniform(0, 1, 90), generator.uniform(30, 60, 10)))
    rotation = _rotation(DIMENSIONS, generator)
    return torch.from_numpy((rotation.T * eigenvalues) @ rotation).float()


def _rotation(dimensions: int, generator: np.random.RandomState) -> NDArray[np.float64]:
    """A rotation drawn uniformly, by the subgroup algorithm (Diaconis and Shahshahani, 1987): from each dimension to
    the next, a reflection that takes the first axis to a random direction.
    """
    angle = 2 * np.pi * generator.uniform()
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for size in range(3, dimensions + 1):
        direction = generator.normal(size=size)
        axis = np.eye(size)[0] - direction / np.linalg.norm(direction)
        axis /= np.linalg.norm(axis)
        larger = np.zeros((size, size))
        larger[0, 0], larger[1:, 1:] = 1.0, rotation
        rotation = larger - 2 * np.outer(axis, axis @ larger)
    return -rotation


def _rows(seed: int) -> Examples:
    rows = torch.from_numpy(np.random.RandomState(seed).normal(0.0, NOISE, (ROWS, DIMENSIONS)).astype(np.float32))
    return Examples(rows, rows)
