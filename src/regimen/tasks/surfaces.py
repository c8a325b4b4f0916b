"""Three known surfaces over the plane with noise on the gradient, from DeepOBS (Schneider et al., arXiv:1903.05499).

The loss of row (x, y) at the point (u, v) is f(u, v) + u x + v y. Rows are standard normal, so a batch of B adds noise
of standard deviation 1/sqrt(B) to each part of the gradient. Data (10,000 rows, NumPy's RandomState(42) and (44)) and
starting points are DeepOBS'; its test rows are 10,000 times (0, 0), here once: the test loss is f itself.
DeepOBS has these problems for TensorFlow alone and gives no batch size and no number of epochs; 128 and 100 are ours.
The numbers of each problem are test losses after 100 epochs with `standard`, seed 42: two to four seconds on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regimen.benchmark.examples import Examples, Splits
from regimen.benchmark.problem import Batch, Problem

Surface = Callable[[Tensor, Tensor], Tensor]
ROWS = 10_000


def rosenbrock(u: Tensor, v: Tensor) -> Tensor:
    """A bent valley with steep walls; the minimum is 0 at (1, 1) (Rosenbrock 1960)."""
    return (1 - u) ** 2 + 100 * (v - u**2) ** 2


def beale(u: Tensor, v: Tensor) -> Tensor:
    """Flat in the middle, steep at the corners; the minimum is 0 at (3, 0.5) (Beale 1958)."""
    return (1.5 - u + u * v) ** 2 + (2.25 - u + u * v**2) ** 2 + (2.625 - u + u * v**3) ** 2


def branin(u: Tensor, v: Tensor) -> Tensor:
    """Three equal minima of 0.397887: at (-pi, 12.275), (pi, 2.275) and (3 pi, 2.475) (Branin 1972)."""
    bowl = (v - 5.1 / (4 * math.pi**2) * u**2 + 5 / math.pi * u - 6) ** 2
    return bowl + 10 * (1 - 1 / (8 * math.pi)) * torch.cos(u) + 10


class _SurfaceProblem(Problem):
    """What the three have in common; a subclass gives the point where the search begins."""

    num_epochs = 100
    num_parameters = 2

    def read(self) -> Splits:
        train, valid = _rows(42), _rows(44)
        return Splits(train, train, valid, _examples(torch.zeros(1, 2)))

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        losses: Tensor = outputs
        return losses

    def hits(self, outputs: Any, batch: Batch) -> Tensor | None:
        return None

    def sample(self, rows: int) -> Examples:
        return _rows(45).take(torch.arange(rows) % ROWS)


class Rosenbrock(_SurfaceProblem):
    """Rosenbrock's valley, from (-0.5, 1.5).

    158.5 before training; SGD at 1e-3 comes to 0.0009, Adam at 0.1 to 0.016.
    """

    name = "two_d_rosenbrock"

    def make_net(self) -> nn.Module:
        return Point(rosenbrock, start=(-0.5, 1.5))


class Beale(_SurfaceProblem):
    """Beale's surface, from the corner (-4.5, 4.5), where the slope is 240,000.

    169,681 before training; SGD at 1e-6 comes to 0.816, Adam at 0.1 to 1.044, and SGD at 1e-3 diverges. The valley next
    to the start leads away from the minimum.
    """

    name = "two_d_beale"

    def make_net(self) -> nn.Module:
        return Point(beale, start=(-4.5, 4.5))


class Branin(_SurfaceProblem):
    """Branin's surface, from (2.5, 12.5).

    95.8 before training; SGD at 1e-3 comes to 0.3981, Adam at 0.1 to 0.3998, both at the left one of the minima.
    """

    name = "two_d_branin"

    def make_net(self) -> nn.Module:
        return Point(branin, start=(2.5, 12.5))


class Point(nn.Module):
    """A place on a surface. Rows (B, 2) of noise give losses (B,)."""

    def __init__(self, surface: Surface, start: tuple[float, float]) -> None:
        super().__init__()
        self.surface = surface
        self.place = nn.Parameter(torch.tensor(start))

    def forward(self, noise: Tensor) -> Tensor:
        return self.surface(*self.place) + noise @ self.place


def _rows(seed: int) -> Examples:
    generator = np.random.RandomState(seed)
    columns = [generator.normal(0.0, 1.0, ROWS) for _ in range(2)]
    return _examples(torch.from_numpy(np.stack(columns, axis=1).astype(np.float32)))


def _examples(rows: Tensor) -> Examples:
    return Examples(rows, rows)
