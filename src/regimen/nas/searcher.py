"""Searchers: which architectures to look at next, given what was seen. Ask and tell, so that a search can be stopped.

    searcher.begin(problem, generator)
    searcher.attach(supernet)                 where there is one
    searcher.observe(loss)                    before each weight step of the supernet's training
    while searcher.learn(loss): ...           after it
    while architectures := searcher.ask():
        searcher.tell(architectures, evaluator.evaluate(architectures))
    searcher.best()

`nas.searching.Search` makes the last calls, keeps the limits, and can be stopped and resumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from pydantic import Field

from regimen.errors import Problem, Refused, StrategyFailed
from regimen.nas.searchproblem import CostLimits
from regimen.nas.searchproblem import SearchProblem as SearchProblem
from regimen.nas.space import Architecture, Space

if TYPE_CHECKING:
    from torch import Tensor

    from regimen.nas.supernet import Supernet

_TRIES = 200
"""How often a searcher's own way is tried for an architecture that is new, before a random one is taken."""
_FEW = 20
"""Random draws before a small space is listed."""
_ENUMERABLE = 20_000
"""Spaces up to this size are listed when random draws find nothing new, so that they can be searched to the end."""


class Evaluator(Protocol):
    """How good architectures are: by a supernet, a table, training each, or a proxy that needs no training."""

    @property
    def space(self) -> Space: ...

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        """One number for each, larger is better; NaN for one that cannot be judged."""
        ...


class Judged(NamedTuple):
    """An architecture and what the evaluator said of it."""

    architecture: Architecture
    quality: float
    """Larger is better; NaN where it could not be judged."""

    @property
    def rank(self) -> float:
        """The quality to compare by: what could not be judged is the worst."""
        return -math.inf if math.isnan(self.quality) else self.quality


class Searcher:
    """The base of searchers; a plug-in of one file, its annotated class attributes are settings.

    A searcher gives `ask`. It draws from the given generator alone, asks for nothing that breaks a limit and for no
    network twice (`self.new` sees to both), and has all it knows in `state_dict`.
    """

    name: ClassVar[str] = ""
    needs_supernet: ClassVar[bool] = False
    """Whether it learns from a supernet's gradients, so that a table is not enough."""

    queries: Annotated[int, Field(ge=1, description="different networks to evaluate, at most")] = 400
    cost: Annotated[CostLimits, Field(description="what an architecture may cost: {max: {mmac: 2.0}}")] = CostLimits()

    # ------------------------------------------------------------------ what it is given

    def begin(self, problem: SearchProblem, generator: np.random.Generator) -> None:
        """Called once, before `load_state_dict`, too. Raises `Refused` for limits that cannot be kept."""
        problem.check()
        self.problem, self.generator = problem, generator
        self.judged: list[Judged] = []
        """All that was evaluated, in order."""
        self.waiting: list[Architecture] = []
        """Asked for and not told yet."""
        self._seen: set[Architecture] = set()
        self._listed: list[Architecture] | None = None

    def attach(self, supernet: Supernet) -> None:
        """Gives it the supernet, where there is one; after `begin`, before `load_state_dict`."""
        self.supernet = supernet

    # ------------------------------------------------------------------ learning from a supernet

    def observe(self, loss: Callable[[], Tensor]) -> None:
        """Called before each weight step of the supernet's training.

        `loss()` is the mean loss of the supernet in its present state on the next batch of the rows for searching,
        differentiable; each call takes another batch.
        """

    def learn(self, loss: Callable[[], Tensor]) -> bool:
        """One step of its own training after the supernet's. Called again until it returns False: nothing left."""
        return False

    # ------------------------------------------------------------------ ask and tell

    def ask(self) -> list[Architecture]:
        """Architectures to evaluate next; none where the search is over."""
        raise TypeError(f"{type(self).__name__} has no ask()")

    def tell(self, architectures: Sequence[Architecture], qualities: Sequence[float]) -> None:
        """What was found, in the order asked for. What was known before may be told, too."""
        for architecture, quality in zip(architectures, qualities, strict=True):
            self.judged.append(Judged(architecture, float(quality)))
            self._seen.add(self.problem.space.canonical(architecture))
        told = set(architectures)
        self.waiting = [architecture for architecture in self.waiting if architecture not in told]

    def best(self) -> Architecture:
        """The answer so far: the best that was evaluated; of equals the first.

        Raises `StrategyFailed` where nothing could be judged.
        """
        found = max((each for each in self.judged if not math.isnan(each.quality)), key=_rank, default=None)
        if found is None:
            text = f"none of {len(self.judged)} architectures could be judged."
            raise StrategyFailed(Problem(f"searcher {self.name}", text, "Look at what the evaluator said of them."))
        return found.architecture

    @property
    def left(self) -> int:
        """How many may still be asked for."""
        return self.queries - len(self.judged) - len(self.waiting)

    def is_new(self, architecture: Architecture) -> bool:
        """Whether neither it nor another form of the same network was asked for."""
        return self.problem.space.canonical(architecture) not in self._seen

    def new(self, make: Callable[[], Architecture] | None = None) -> Architecture | None:
        """The first that `make` gives which keeps the limits and is new, to be asked for next.

        After 200 tries, or without `make`, a random one; None when there is none, or when none is found.
        """
        return next((candidate for candidate in self._candidates(make) if self.take(candidate)), None)

    def take(self, architecture: Architecture) -> bool:
        """Notes it as asked for, if it is new and keeps the limits; else returns False."""
        if not self.is_new(architecture) or not self.problem.allowed([architecture])[0]:
            return False
        self._seen.add(self.problem.space.canonical(architecture))
        self.waiting.append(architecture)
        return True

    def several(self, number: int, make: Callable[[], Architecture] | None = None) -> list[Architecture]:
        """Up to `number` new ones, no more than may be asked for."""
        found: list[Architecture] = []
        while len(found) < number and self.left > 0:
            architecture = self.new(make)
            if architecture is None:
                break
            found.append(architecture)
        return found

    def _candidates(self, make: Callable[[], Architecture] | None) -> Iterator[Architecture]:
        for _ in range(_TRIES if make else 0):
            yield make()  # type: ignore[misc]  # not called without one
        small = self.problem.space.num_architectures <= _ENUMERABLE
        for _ in range(_FEW if small else _TRIES):
            try:
                yield self.problem.random(self.generator)
            except Refused:
                if not self._seen:
                    raise
                break  # some keep the limits, so they can be kept: there are few
        if small:
            left = self._unseen()
            if left:
                yield left[int(self.generator.integers(len(left)))]

    def _unseen(self) -> list[Architecture]:
        """Each network that keeps the limits and was not asked for, once."""
        if self._listed is None:
            every = list(self.problem.space.everything())
            kept = zip(every, self.problem.allowed(every), strict=True)
            self._listed = list(
                {self.problem.space.canonical(each): each for each, allowed in kept if allowed}.values()
            )
        self._listed = [architecture for architecture in self._listed if self.is_new(architecture)]
        return self._listed

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Numbers, texts, lists, dicts and tensors; the generator is kept by whoever made it."""
        return {
            "architectures": [list(each.architecture) for each in self.judged],
            "qualities": [each.quality for each in self.judged],
            "waiting": [list(architecture) for architecture in self.waiting],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        made = [tuple(choices) for choices in state["architectures"]]
        self.judged = [Judged(*each) for each in zip(made, state["qualities"], strict=True)]
        self.waiting = [tuple(choices) for choices in state["waiting"]]
        self._seen = {self.problem.space.canonical(each) for each in (*made, *self.waiting)}


def _rank(judged: Judged) -> float:
    return judged.rank
