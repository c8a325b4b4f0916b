"""OSNASLib's genetic algorithm: the best of all generations are crossed at one layer, then mutated.

As in OSNASLib: population and parents of a fixed number, one cut, a rate of 0.1 a layer. Otherwise than there: a
network is evaluated once, tries are bounded, and the limits are those of the search, not a window of 20 units below a
target.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from regimen.nas.searcher import Searcher
from regimen.nas.space import Architecture
from regimen.nas.variation import crossed_once, mutated


class GeneticSearcher(Searcher):
    """Generations of children of the best so far: crossed at one layer, then each choice mutated at a rate."""

    name = "genetic"

    population: Annotated[int, Field(ge=2, description="architectures of a generation; the first one is random")] = 20
    parents: Annotated[int, Field(ge=1, description="the best of all so far, from which children are made")] = 10
    rate: Annotated[float, Field(ge=0, le=1, description="probability that a layer gets a random choice")] = 0.1

    def ask(self) -> list[Architecture]:
        if not self.judged:
            return self.several(self.population)
        ranked = sorted(self.judged, key=lambda each: -each.rank)
        best = [each.architecture for each in ranked[: self.parents]]
        return self.several(self.population, lambda: self._child(best))

    def _child(self, parents: list[Architecture]) -> Architecture:
        first, second = self.generator.integers(len(parents), size=2)
        child = crossed_once(parents[int(first)], parents[int(second)], self.generator)
        return mutated(self.problem.space, child, self.rate, self.generator)
