"""NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017): the best quality at every cost, in one search.

Parents are drawn two at a time, the better by front, then by distance to its neighbours, wins. Otherwise than in the
paper: a network is evaluated once, and the front is that of all that was evaluated, not of the last population.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from regimen.nas.cost import Unit
from regimen.nas.pareto import crowding, front, layers
from regimen.nas.searcher import Judged, Searcher, SearchProblem
from regimen.nas.searchproblem import exact
from regimen.nas.space import Architecture
from regimen.nas.variation import mixed, mutated

_LOWEST = -1e30
"""The quality of what could not be judged: finite, so that distances are."""


class NSGA2(Searcher):
    """Keeps a population spread along the front of quality against cost; children of two parents, mutated."""

    name = "nsga2"

    objective: Annotated[Unit, Field(description="the cost that is made small: mmac, params or ms")] = "mmac"
    population: Annotated[int, Field(ge=2, description="architectures that are kept, and children of a round")] = 20
    rate: Annotated[
        float | None, Field(gt=0, le=1, description="probability that a layer gets a random choice; unset: 1 / layers")
    ] = None

    def begin(self, problem: SearchProblem, generator: np.random.Generator) -> None:
        super().begin(problem, generator)
        self._cost = problem.cost(self.objective, "strategy.search.objective")
        self.alive: list[Judged] = []

    def ask(self) -> list[Architecture]:
        if len(self.alive) < 2:
            return self.several(self.population)
        order = self._order(self.alive)
        return self.several(self.population, lambda: self._child(order))

    def tell(self, architectures: Sequence[Architecture], qualities: Sequence[float]) -> None:
        super().tell(architectures, qualities)
        both = self.alive + self.judged[len(self.judged) - len(architectures) :]
        self.alive = [both[place] for place in self._order(both)[: self.population]]

    def front(self) -> list[Judged]:
        """The best quality at each cost, cheapest first, of all that was evaluated."""
        known = [each for each in self.judged if each.quality == each.quality]
        return [known[place] for place in front([each.quality for each in known], self._costs(known))]

    def _order(self, among: Sequence[Judged]) -> list[int]:
        """Places, best first: by front, inside a front by distance."""
        qualities, costs = [max(each.rank, _LOWEST) for each in among], self._costs(among)
        ordered: list[int] = []
        for places in layers(qualities, costs):
            apart = crowding([qualities[place] for place in places], [costs[place] for place in places])
            ordered += [places[place] for place in np.argsort(-apart, kind="stable")]
        return ordered

    def _costs(self, among: Sequence[Judged]) -> list[float]:
        """In steps of the spread of a measured cost: what cannot be told apart is equal."""
        costs = exact(self._cost.of([each.architecture for each in among])) if among else np.zeros(0)
        spread = self._cost.spread
        return [float(cost) for cost in (np.floor(costs / spread) * spread if spread > 0 else costs)]

    def _child(self, order: Sequence[int]) -> Architecture:
        space, generator = self.problem.space, self.generator
        first, second = (self._parent(order) for _ in range(2))
        rate = self.rate or 1 / len(space.sizes)
        return mutated(space, mixed(first, second, generator), rate, generator)

    def _parent(self, order: Sequence[int]) -> Architecture:
        better = int(self.generator.integers(len(order), size=2).min())
        return self.alive[order[better]].architecture

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "alive": [[list(each.architecture), each.quality] for each in self.alive]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.alive = [Judged(tuple(choices), quality) for choices, quality in state["alive"]]
