"""What is searched: a space, what its architectures cost, and the limits that every answer keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from regimen.errors import Problem, Refused
from regimen.nas.cost import Cost, Limit, Range, Unit
from regimen.nas.space import Architecture, Space
from regimen.spec import Frozen

_BLOCK = 64
"""Random architectures whose costs are looked up together."""
_WALKS = 20
"""Starts of a walk towards the limits, where no random architecture keeps them."""


def exact(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Costs to a millionth of their unit (one multiply-add, a nanosecond): sums in another order are equal again."""
    rounded: NDArray[np.float64] = np.round(costs, 6)
    return rounded


class ByUnit(Frozen):
    """A number for each cost that is limited."""

    mmac: Annotated[float, Field(gt=0)] | None = None
    """millions of multiply-adds"""
    params: Annotated[float, Field(gt=0)] | None = None
    """parameters"""
    ms: Annotated[float, Field(gt=0)] | None = None
    """milliseconds of one forward pass"""


class CostLimits(Frozen):
    """What an architecture may cost: `{max: {mmac: 2.0}}`."""

    max: ByUnit = ByUnit()
    """largest cost by unit: mmac, params, ms"""
    min: ByUnit = ByUnit()
    """smallest cost by unit"""

    def ranges(self) -> dict[Unit, Range]:
        """One for each unit that is limited."""
        units: tuple[Unit, ...] = ("mmac", "params", "ms")
        ends = {unit: (getattr(self.min, unit), getattr(self.max, unit)) for unit in units}
        return {unit: Range(low=low or 0.0, high=high) for unit, (low, high) in ends.items() if low or high}


@dataclass(frozen=True)
class SearchProblem:
    """A space, its costs and limits. `SearchProblem.of` makes one from settings."""

    space: Space
    limits: tuple[Limit, ...] = ()
    costs: tuple[Cost, ...] = ()
    """What architectures cost, one for each unit; those of the limits need not be repeated."""
    tries: int = 2_000
    """How many random architectures are drawn for one that keeps the limits."""

    @classmethod
    def of(
        cls, space: Space, costs: Sequence[Cost], limited: CostLimits | None = None, place: str = "strategy.search.cost"
    ) -> SearchProblem:
        """Raises `Refused` for a limit on a cost that is not there, or that no architecture can keep."""
        wanted = (limited or CostLimits()).ranges()
        known = {cost.unit: cost for cost in costs}
        missing = [unit for unit in wanted if unit not in known]
        if missing:
            text = f"limits {missing[0]}, and that cost of {space.name} is not known."
            fix = f"Limit {' or '.join(known)}." if known else "Remove the limit."
            raise Refused(Problem(f"{place}.{missing[0]}", text, fix))
        limits = tuple(Limit(known[unit], limit, f"{place}.{unit}") for unit, limit in wanted.items())
        problem = cls(space, limits, tuple(costs))
        problem.check()
        return problem

    def check(self) -> None:
        """Raises `Refused` with the reachable range where a limit cannot be kept, or is finer than its cost is
        measured.
        """
        for limit in self.limits:
            limit.check(self.space)
            low, high = limit.cost.reach()
            top = high if limit.range.high is None else min(high, limit.range.high)
            width = top - max(low, limit.range.low)
            if width < 0:
                text = f"wants at least {limit.range.low:g} and at most {limit.range.high:g} {limit.cost.unit}."
                raise Refused(Problem(limit.place, text, f"Choose a range inside {low:g} to {high:g}."))
            if limit.cost.spread > 0 and width < min(limit.cost.spread, high - low):
                text = (
                    f"leaves {width:.3g} {limit.cost.unit} of {low:g} to {high:g}, and two measurements of one "
                    f"architecture differ by {limit.cost.spread:.3g}."
                )
                raise Refused(
                    Problem(limit.place, text, "Choose a wider range, or limit what is counted: mmac, params.")
                )

    def cost(self, unit: Unit, place: str) -> Cost:
        """The cost in a unit. Raises `Refused` where it is not known."""
        for cost in (*self.costs, *(limit.cost for limit in self.limits)):
            if cost.unit == unit:
                return cost
        known = sorted({cost.unit for cost in self.costs})
        text = f"is {unit}, and that cost of {self.space.name} is not known."
        raise Refused(Problem(place, text, f"Known: {', '.join(known)}." if known else "None is."))

    def allowed(self, architectures: Sequence[Architecture] | NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,): which keep every limit."""
        kept = np.ones(len(architectures), dtype=bool)
        for limit in self.limits:
            kept &= limit.range.holds(exact(limit.cost.of(architectures)))
        return kept

    def excess(self, architectures: Sequence[Architecture] | NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,): how far outside of the limits, each in parts of what can be reached; 0 for those that keep them."""
        total = np.zeros(len(architectures))
        for limit in self.limits:
            low, high = limit.cost.reach()
            costs = exact(limit.cost.of(architectures))
            above = 0.0 if limit.range.high is None else np.maximum(costs - limit.range.high, 0)
            total += (above + np.maximum(limit.range.low - costs, 0)) / max(high - low, 1e-12)
        return total

    def random(self, generator: np.random.Generator) -> Architecture:
        """One that keeps the limits: drawn evenly, or, where none of `tries` keeps them, walked to from random ones.

        Raises `Refused` with the reachable range where that fails, too.
        """
        drawn = 0
        while drawn < self.tries:
            size = min(_BLOCK, self.tries - drawn) if self.limits else 1
            block_NL = generator.integers(0, self.space.sizes, size=(size, len(self.space.sizes)))
            kept = np.flatnonzero(self.allowed(block_NL))
            if len(kept):
                return tuple(block_NL[kept[0]].tolist())
            drawn += size
        for _ in range(_WALKS):
            found = self._walk(self.space.random(generator), generator)
            if found is not None:
                return found
        reach = "; ".join(
            f"{low:g} to {high:g} {limit.cost.unit}" for limit in self.limits for low, high in [limit.cost.reach()]
        )
        text = f"none of {self.tries} random architectures of {self.space.name} keeps the limits."
        place = self.limits[0].place
        raise Refused(Problem(place, text, f"Widen them; what can be reached, each on its own: {reach}."))

    def _walk(self, start: Architecture, generator: np.random.Generator) -> Architecture | None:
        """To the neighbour that breaks the limits least, as long as that gets better."""
        at, excess = start, float(self.excess([start])[0])
        while excess > 0:
            near = np.array(list(self.space.neighbours(at)), dtype=np.int64).reshape(-1, len(at))
            around = self.excess(near)
            if not len(near) or around.min() >= excess:
                return None
            excess = float(around.min())
            at = tuple(near[generator.choice(np.flatnonzero(around == excess))].tolist())
        return at if self.allowed([at])[0] else None
