"""Searchers: which architectures to look at next, given what was seen. Ask and tell, so that a search can be stopped.

searcher.begin(problem, generator)
while architectures := searcher.ask():
    searcher.tell(architectures, evaluator.evaluate(architectures))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from regimen.errors import Problem, Refused
from regimen.nas.cost import Limit
from regimen.nas.space import Architecture, Space


class Evaluator(Protocol):
    """How good architectures are: by a supernet, a table, training each, or a proxy that needs no training."""

    space: Space

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        """One number for each, larger is better; NaN for one that cannot be judged."""
        ...


@dataclass(frozen=True)
class SearchProblem:
    """What is searched: a space, and the limits that every answer must keep."""

    space: Space
    limits: tuple[Limit, ...] = ()
    tries: int = 10_000
    """How many random architectures are drawn for one that keeps the limits before the search gives up."""

    def allowed(self, architectures: Sequence[Architecture]) -> NDArray[np.bool_]:
        """(N,): which keep every limit."""
        kept = np.ones(len(architectures), dtype=bool)
        for limit in self.limits:
            kept &= limit.range.holds(limit.cost.of(architectures))
        return kept

    def random(self, generator: np.random.Generator) -> Architecture:
        """One that keeps the limits. Raises `Refused` with the reachable range after `tries` draws."""
        for _ in range(self.tries):
            architecture = self.space.random(generator)
            if self.allowed([architecture])[0]:
                return architecture
        for limit in self.limits:
            limit.check(self.space)
        reach = "; ".join(
            f"{low:g} to {high:g} {limit.cost.unit}" for limit in self.limits for low, high in [limit.cost.reach()]
        )
        text = f"none of {self.tries} random architectures of {self.space.name} keeps the limits."
        raise Refused(Problem("strategy.search.cost", text, f"Widen them; what can be reached: {reach}."))


class Searcher:
    """The base of searchers; a plug-in of one file, its annotated class attributes are settings.

    A searcher draws from the given generator alone, never asks for an architecture that breaks a limit, and has all it
    knows in `state_dict`.
    """

    name: ClassVar[str] = ""

    problem: SearchProblem
    generator: np.random.Generator

    def begin(self, problem: SearchProblem, generator: np.random.Generator) -> None:
        """Called once before the first `ask`, also before `load_state_dict`."""
        self.problem, self.generator = problem, generator

    def ask(self) -> list[Architecture]:
        """Architectures to evaluate next; none where the search is over."""
        raise TypeError(f"{type(self).__name__} has no ask()")

    def tell(self, architectures: Sequence[Architecture], qualities: Sequence[float]) -> None:
        """What was found, in the order asked for."""
        raise TypeError(f"{type(self).__name__} has no tell(architectures, qualities)")

    def best(self) -> Architecture:
        """The answer so far."""
        raise TypeError(f"{type(self).__name__} has no best()")

    def state_dict(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts; the generator is kept by whoever made it."""
        raise TypeError(f"{type(self).__name__} has no state_dict()")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        raise TypeError(f"{type(self).__name__} has no load_state_dict(state)")
