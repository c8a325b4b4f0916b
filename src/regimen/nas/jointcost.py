"""A cost that is a sum of tables of which each depends on several choices at once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regimen.nas.cost import Unit
from regimen.nas.space import Architecture


class Table(NamedTuple):
    """What is added for what stands at some places of an architecture."""

    positions: tuple[int, ...]
    costs: NDArray[np.float64]
    """One axis a position."""


@dataclass(frozen=True)
class JointCost:
    """Where a layer's cost depends on other choices, such as a width that all layers share."""

    unit: Unit
    base: float
    tables: tuple[Table, ...]
    sizes: tuple[int, ...]
    """Of the space."""
    spread: float = 0.0

    def of(self, architectures: Sequence[Architecture] | NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,): one look-up a table for all."""
        chosen_NL = np.asarray(architectures, dtype=np.int64).reshape(-1, len(self.sizes))
        total = np.full(len(chosen_NL), self.base)
        for positions, costs in self.tables:
            total += costs[tuple(chosen_NL[:, position] for position in positions)]
        return total

    def expected(self, probabilities: Sequence[ArrayLike]) -> float:
        """The mean cost where each place is chosen on its own, place l with `probabilities[l]`, which sum to 1."""
        total = self.base
        for positions, costs in self.tables:
            for position in positions:
                costs = np.tensordot(np.asarray(probabilities[position], dtype=np.float64), costs, axes=1)
            total += float(costs)
        return total

    def reach(self) -> tuple[float, float]:
        """Exact: every combination of the choices that several tables share, the best of the rest for each."""
        uses = Counter(position for table in self.tables for position in table.positions)
        shared = [position for position, number in uses.items() if number > 1]
        low, high = np.inf, -np.inf
        for combination in itertools.product(*(range(self.sizes[position]) for position in shared)):
            fixed = dict(zip(shared, combination, strict=True))
            rest = [costs[tuple(fixed.get(p, slice(None)) for p in positions)] for positions, costs in self.tables]
            low = min(low, self.base + sum(float(np.min(part)) for part in rest))
            high = max(high, self.base + sum(float(np.max(part)) for part in rest))
        return low, high
