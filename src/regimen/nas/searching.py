"""One search: a searcher asks, an evaluator judges, and what was found is kept, so that it can stop and go on.

    search = Search(searcher, problem, evaluator, generator)
    search.load_state_dict(state)            to go on
    while search.step():                     one round of asking, judging, telling
        state = search.state_dict()          what a checkpoint must hold, the generator included
    search.found()

A searcher from a user's file is held to the same rules as ours: what breaks a limit is its error, a network that was
judged is not judged again, and rounds that bring nothing new end the search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from regimen.errors import Problem, StrategyFailed
from regimen.nas.cost import Unit
from regimen.nas.searcher import Evaluator, Judged, Searcher, SearchProblem
from regimen.nas.space import Architecture

_IDLE_ROUNDS = 100
"""Rounds in a row without a new network, after which a search is over."""


class Found(NamedTuple):
    """What a search ended with."""

    architecture: Architecture
    quality: float
    costs: dict[Unit, float]
    num_judged: int
    """Different networks."""


class Search:
    """A search in progress. `history` holds the networks that were judged, in order."""

    def __init__(
        self, searcher: Searcher, problem: SearchProblem, evaluator: Evaluator, generator: np.random.Generator
    ) -> None:
        """Raises `Refused` for limits that no architecture can keep, before anything is evaluated."""
        self.searcher, self.problem, self.evaluator, self.generator = searcher, problem, evaluator, generator
        searcher.begin(problem, generator)
        self.history: list[Judged] = []
        self._pending: list[Architecture] | None = None
        self._qualities: dict[Architecture, float] = {}
        self._idle = 0

    def step(self) -> bool:
        """Asks, judges and tells once. False where the searcher has nothing more to ask.

        Raises `StrategyFailed` where it asks for what is outside of the space or breaks a limit.
        """
        if self._pending is None:
            self._pending = self._asked()
        if not self._pending:
            return False
        known = len(self._qualities)
        self._judge(self._pending)
        canonical = self.problem.space.canonical
        asked, self._pending = self._pending, None
        self.searcher.tell(asked, [self._qualities[canonical(each)] for each in asked])
        self._idle = self._idle + 1 if len(self._qualities) == known else 0
        return self._idle < _IDLE_ROUNDS

    def run(self, should_stop: Callable[[int], bool] = lambda judged: False) -> bool:
        """Steps until the search is over or `should_stop(networks judged)`. Returns whether it is over."""
        while not should_stop(len(self.history)):
            if not self.step():
                return True
        return False

    def found(self) -> Found:
        """The searcher's answer. Raises `StrategyFailed` where nothing could be judged."""
        best = self.searcher.best()
        quality = self._qualities.get(self.problem.space.canonical(best), float("nan"))
        costs = {unit: float(cost[0]) for unit, cost in self.costs_of([best]).items()}
        return Found(best, quality, costs, len(self.history))

    def costs_of(self, architectures: Sequence[Architecture]) -> dict[Unit, NDArray[np.float64]]:
        """What each costs, (N,), in each unit that the problem knows."""
        costs = (*self.problem.costs, *(limit.cost for limit in self.problem.limits))
        return {cost.unit: cost.of(architectures) for cost in costs}

    def _asked(self) -> list[Architecture]:
        place = f"searcher {self.searcher.name}"
        asked = [self.problem.space.check(each, place) for each in self.searcher.ask()]
        for architecture, allowed in zip(asked, self.problem.allowed(asked) if asked else [], strict=True):
            if not allowed:
                costs = ", ".join(f"{cost[0]:g} {unit}" for unit, cost in self.costs_of([architecture]).items())
                text = f"asks for {architecture}, which breaks a limit: it costs {costs}."
                raise StrategyFailed(Problem(place, text, "Ask for what `self.new` gives, or check `problem.allowed`."))
        return asked

    def _judge(self, asked: list[Architecture]) -> None:
        """Has the networks that are not known evaluated, all in one call, each once."""
        canonical = self.problem.space.canonical
        new = {canonical(each): each for each in reversed(asked) if canonical(each) not in self._qualities}
        chosen = list(reversed(new.values()))
        if not chosen:
            return
        for architecture, quality in zip(chosen, self.evaluator.evaluate(chosen), strict=True):
            self._remember(architecture, float(quality))

    def _remember(self, architecture: Architecture, quality: float) -> None:
        self._qualities[self.problem.space.canonical(architecture)] = quality
        self.history.append(Judged(architecture, quality))

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Searcher, generator, and what was asked and not told: what is interrupted while judging is judged again."""
        return {
            "searcher": self.searcher.state_dict(),
            "generator": self.generator.bit_generator.state,
            "architectures": [list(each.architecture) for each in self.history],
            "qualities": [each.quality for each in self.history],
            "pending": None if self._pending is None else [list(each) for each in self._pending],
            "idle": self._idle,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave; the generator given to this search goes on from there."""
        self.generator.bit_generator.state = state["generator"]
        self.searcher.load_state_dict(state["searcher"])
        self.history, self._qualities, self._idle = [], {}, state["idle"]
        for choices, quality in zip(state["architectures"], state["qualities"], strict=True):
            self._remember(tuple(choices), quality)
        pending = state["pending"]
        self._pending = None if pending is None else [tuple(each) for each in pending]
