"""What an architecture costs, as tables of numbers with a unit: multiply-adds, parameters, milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from regimen.errors import Problem, Refused
from regimen.nas.space import Architecture, Space
from regimen.spec import Frozen

Unit = Literal["mmac", "params", "ms"]
"""Millions of multiply-adds (convolutions, linear layers and attention's products), parameters, milliseconds of one
forward pass.
"""


class Range(Frozen):
    """Between which numbers a cost must lie."""

    low: Annotated[float, Field(ge=0, description="smallest cost that is allowed")] = 0.0
    high: Annotated[float | None, Field(gt=0, description="largest cost that is allowed; unset: any")] = None

    def holds(self, costs: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (costs >= self.low) & (costs <= (np.inf if self.high is None else self.high))


class Cost(Protocol):
    """The cost of many architectures at once."""

    @property
    def unit(self) -> Unit: ...
    @property
    def spread(self) -> float:
        """How much two measurements of one architecture differ, in the unit; 0 for what is counted."""
        ...

    def of(self, architectures: Sequence[Architecture] | NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,) for N architectures."""
        ...

    def reach(self) -> tuple[float, float]:
        """The smallest and the largest cost of any architecture."""
        ...


@dataclass(frozen=True)
class CostTable:
    """A cost that is a sum over layers: a part that all share and one for each choice."""

    unit: Unit
    base: float
    layers: tuple[NDArray[np.float64], ...]
    """For each layer, the cost of each of its choices."""
    spread: float = 0.0

    def of(self, architectures: Sequence[Architecture] | NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,): one look-up for all."""
        chosen_NL = np.asarray(architectures, dtype=np.int64).reshape(-1, len(self.layers))
        table_LK = self._table
        total: NDArray[np.float64] = table_LK[np.arange(len(self.layers)), chosen_NL].sum(axis=1) + self.base
        return total

    @cached_property
    def _table(self) -> NDArray[np.float64]:
        """(L, K): layers with fewer choices are filled with zeros."""
        widest = max(len(layer) for layer in self.layers)
        return np.stack([np.pad(layer, (0, widest - len(layer))) for layer in self.layers])

    def expected(self, probabilities: Sequence[ArrayLike]) -> float:
        """The mean cost where layer l takes its choices with `probabilities[l]`, which sum to 1."""
        return self.base + sum(
            float(np.dot(layer, given)) for layer, given in zip(self.layers, probabilities, strict=True)
        )

    def reach(self) -> tuple[float, float]:
        return (
            self.base + sum(float(layer.min()) for layer in self.layers),
            self.base + sum(float(layer.max()) for layer in self.layers),
        )


@dataclass(frozen=True)
class Limit:
    """A cost and the range it must lie in."""

    cost: Cost
    range: Range
    place: str = "strategy.search.cost"

    def check(self, space: Space) -> None:
        """Raises `Refused` with the range that can be reached, where no architecture can lie in the wanted one."""
        low, high = self.cost.reach()
        if self.range.low > high or (self.range.high is not None and self.range.high < low):
            wanted = f"{self.range.low:g} to {'any' if self.range.high is None else f'{self.range.high:g}'}"
            text = f"wants {wanted} {self.cost.unit}; architectures of {space.name} have {low:g} to {high:g}."
            raise Refused(Problem(self.place, text, "Choose a range that meets it."))
