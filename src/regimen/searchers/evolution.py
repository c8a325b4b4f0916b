"""Regularized evolution (Real et al., arXiv:1802.01548): the oldest dies, not the worst.

A network that was evaluated before is not evaluated again: another change of the parent is tried. In the paper such a
child is trained once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from regimen.nas.searcher import Judged, Searcher, SearchProblem
from regimen.nas.space import Architecture
from regimen.nas.variation import changed_once


class RegularizedEvolution(Searcher):
    """The best of a random few of the population gets a child with one choice changed; the oldest leaves."""

    name = "evolution"

    population: Annotated[int, Field(ge=2, description="architectures alive; the first of them are random")] = 20
    sample: Annotated[int, Field(ge=1, description="how many are drawn, of which the best becomes a parent")] = 5
    batch: Annotated[int, Field(ge=1, description="children that are evaluated together")] = 1

    def begin(self, problem: SearchProblem, generator: np.random.Generator) -> None:
        super().begin(problem, generator)
        self.alive: deque[Judged] = deque(maxlen=self.population)

    def ask(self) -> list[Architecture]:
        missing = self.population - len(self.alive)
        return self.several(missing) if missing > 0 else self.several(self.batch, self._child)

    def tell(self, architectures: Sequence[Architecture], qualities: Sequence[float]) -> None:
        super().tell(architectures, qualities)
        self.alive.extend(self.judged[len(self.judged) - len(architectures) :])

    def _child(self) -> Architecture:
        drawn = self.generator.choice(len(self.alive), size=min(self.sample, len(self.alive)), replace=False)
        parent = max((self.alive[int(place)] for place in drawn), key=lambda each: each.rank)
        return changed_once(self.problem.space, parent.architecture, self.generator)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.alive = deque(self.judged, maxlen=self.population)
