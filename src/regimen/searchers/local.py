"""Local search: to a better neighbour until there is none, then from another start (White et al., arXiv:2005.02960)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from regimen.nas.searcher import Judged, Searcher, SearchProblem
from regimen.nas.space import Architecture


class LocalSearcher(Searcher):
    """Looks at the neighbours (one choice changed) of the best of its climb, and starts again at a summit."""

    name = "local"

    starts: Annotated[int, Field(ge=1, description="random architectures at each start; the best is climbed from")] = 10
    batch: Annotated[
        int | None, Field(ge=1, description="neighbours that are evaluated before it moves; unset: all of them")
    ] = 4

    def begin(self, problem: SearchProblem, generator: np.random.Generator) -> None:
        super().begin(problem, generator)
        self.at: Judged | None = None
        self.near: list[Architecture] = []
        """Neighbours that were not looked at, in random order."""

    def ask(self) -> list[Architecture]:
        asked: list[Architecture] = []
        while self.near and self.left > 0 and (self.batch is None or len(asked) < self.batch):
            candidate = self.near.pop()
            if self.take(candidate):
                asked.append(candidate)
        if asked or self.left <= 0:
            return asked
        self.at = None
        return self.several(self.starts)

    def tell(self, architectures: Sequence[Architecture], qualities: Sequence[float]) -> None:
        super().tell(architectures, qualities)
        told = self.judged[len(self.judged) - len(architectures) :]
        best = max(told, key=lambda each: each.rank, default=None)
        if best is not None and (self.at is None or best.rank > self.at.rank):
            self._move(best)

    def _move(self, there: Judged) -> None:
        around = list(self.problem.space.neighbours(there.architecture))
        allowed = self.problem.allowed(around) if around else np.zeros(0, dtype=bool)
        kept = [near for near, keeps in zip(around, allowed, strict=True) if keeps]
        self.at = there
        self.near = [kept[place] for place in self.generator.permutation(len(kept))]

    def state_dict(self) -> dict[str, Any]:
        at = None if self.at is None else [list(self.at.architecture), self.at.quality]
        return {**super().state_dict(), "at": at, "near": [list(each) for each in self.near]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.at = None if state["at"] is None else Judged(tuple(state["at"][0]), state["at"][1])
        self.near = [tuple(each) for each in state["near"]]
