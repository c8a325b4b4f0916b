"""Tuners: what to try next, as a function of what is known. They keep nothing, so that a log is all it takes to go on.

    tuner = make_tuner(settings.method, settings.space, num_seeds, epochs)
    wishes = tuner.wishes(scores)     # again and again, with the scores of the wishes so far, until it is empty

A score is a number, lower is better, infinite where training failed. The same scores give the same wishes.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from regimen.errors import MissingExtra, Problem, Refused
from regimen.randomness import derived_generator
from regimen.study.bayesian import Suggestions
from regimen.study.methods import Bayesian, Draw, Grid, Halving, Listed, Method
from regimen.study.space import Space
from regimen.study.trial import Setting, Wish

Scores = Mapping[tuple[int, int], float]
"""By (number of the setting, rung)."""


class Tuner(Protocol):
    """Chooses what is tried."""

    def wishes(self, scores: Scores) -> list[Wish]:
        """What must be known next: wishes without a score yet. Empty when the tuner is done."""
        ...

    def setting(self, number: int) -> Setting | None:
        """The setting of a number; None for one that was not chosen with the scores last given."""
        ...

    def most(self) -> list[tuple[int, float | None]]:
        """How many settings each rung has at most, and for how many epochs; None is the whole budget."""
        ...


class AtOnce:
    """Settings that are all known from the start."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        self.settings = settings

    def wishes(self, scores: Scores) -> list[Wish]:
        return [Wish(number, s) for number, s in enumerate(self.settings) if (number, 0) not in scores]

    def setting(self, number: int) -> Setting | None:
        return self.settings[number] if number < len(self.settings) else None

    def most(self) -> list[tuple[int, float | None]]:
        return [(len(self.settings), None)]


class OneByOne:
    """Settings of which each batch follows from the scores of those before it."""

    def __init__(self, settings: Bayesian, space: Space) -> None:
        self.trials, self.batch = settings.trials, settings.batch
        self.suggestions = Suggestions(settings, space)

    def wishes(self, scores: Scores) -> list[Wish]:
        known: list[float] = []
        while len(known) < self.trials:
            settings = self.suggestions.after(known)[: min(self.batch, self.trials - len(known))]
            batch = [Wish(len(known) + index, setting) for index, setting in enumerate(settings)]
            waiting = [wish for wish in batch if (wish.number, 0) not in scores]
            if waiting:
                return waiting
            known += [scores[wish.number, 0] for wish in batch]
        return []

    def setting(self, number: int) -> Setting | None:
        return self.suggestions.chosen(number)

    def most(self) -> list[tuple[int, float | None]]:
        return [(self.trials, None)]


class Rung(NamedTuple):
    """A level of successive halving."""

    settings: int
    epochs: float


class Rungs:
    """Successive halving: each rung waits for all of the one below, and takes the best of it."""

    def __init__(self, settings: Sequence[Setting], rungs: Sequence[Rung]) -> None:
        self.settings, self.rungs = settings, rungs

    def wishes(self, scores: Scores) -> list[Wish]:
        alive = list(range(len(self.settings)))
        for level, rung in enumerate(self.rungs):
            if level:
                finite = [number for number in alive if math.isfinite(scores[number, level - 1])]
                alive = sorted(finite, key=lambda number: scores[number, level - 1])[: rung.settings]
            waiting = [number for number in sorted(alive) if (number, level) not in scores]
            if waiting:
                return [Wish(number, self.settings[number], level, self._epochs(level)) for number in waiting]
        return []

    def setting(self, number: int) -> Setting | None:
        return self.settings[number] if number < len(self.settings) else None

    def most(self) -> list[tuple[int, float | None]]:
        return [(rung.settings, self._epochs(level)) for level, rung in enumerate(self.rungs)]

    def _epochs(self, level: int) -> float | None:
        return None if level == len(self.rungs) - 1 else self.rungs[level].epochs


def make_tuner(method: Method, space: Space, epochs: float | None) -> Tuner:
    """The tuner of a method. `epochs` is the whole budget, which halving divides.

    Raises `Refused` where halving has no epochs to divide, `MissingExtra` without SciPy or Optuna where needed.
    """
    if isinstance(method, Bayesian):
        return OneByOne(method, space)
    settings = settings_of(method, space)
    if not isinstance(method, Halving):
        return AtOnce(settings)
    if epochs is None:
        text = "divides epochs, and the budget is in another unit."
        raise Refused(Problem("tune.method", f"halving {text}", "Give budget.epochs alone."))
    return Rungs(settings, rungs(len(settings), epochs, method.eta, method.min_epochs))


def rungs(settings: int, epochs: float, eta: float, min_epochs: float) -> list[Rung]:
    """How many settings train for how long: the whole budget at the top, a part of 1/eta of it on each rung below.

    >>> [tuple(rung) for rung in rungs(36, 100, 3, 1)]
    [(36, 4), (12, 12), (4, 34), (1, 100)]
    """
    most = math.floor(math.log(settings) / math.log(eta) + 1e-9)
    levels = min(most, math.floor(math.log(epochs / min_epochs) / math.log(eta) + 1e-9)) if epochs > min_epochs else 0
    found: dict[float, int] = {}
    for level in range(levels + 1):
        length = epochs if level == levels else math.ceil(epochs / eta ** (levels - level) - 1e-9)
        # Of two rungs that round to the same length, the one with more settings counts.
        found.setdefault(length, max(1, math.floor(settings / eta**level + 1e-9)))
    return [Rung(count, length) for length, count in found.items()]


def settings_of(method: Method, space: Space) -> list[Setting]:
    """All settings of a method that knows them from the start; each once, so that none is trained twice."""
    if isinstance(method, Listed):
        return once(method.settings)
    draw: Draw = "grid" if isinstance(method, Grid) else method.draw if isinstance(method, Halving) else method.name  # type: ignore[assignment]
    if draw == "grid":
        return once(_combined(space))
    trials, seed = method.trials or 0, method.seed  # type: ignore[union-attr]  # a grid has neither
    points = _points(draw, len(space), trials, seed)
    return once({path: d.at(float(part)) for (path, d), part in zip(space.items(), row, strict=True)} for row in points)


def once(settings: Iterable[Setting]) -> list[Setting]:
    """Without the later ones of equal settings."""
    return list({json.dumps(setting, sort_keys=True): dict(setting) for setting in settings}.values())


def _combined(space: Space) -> list[Setting]:
    grids = [each.grid() for each in space.values()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*grids)]


def _points(draw: Draw, dimensions: int, trials: int, seed: int) -> Any:
    """(trials, dimensions) in [0, 1)."""
    if draw == "random":
        return derived_generator(seed, "tune", "random").random((trials, dimensions))
    try:
        from scipy.stats import qmc
    except ImportError as error:
        fix = "pip install 'regimen-ml[bench]', or use random."
        raise MissingExtra(
            Problem("tune.method", f"{draw} sequences come from SciPy, which is not installed.", fix)
        ) from error
    engine = qmc.Halton if draw == "halton" else qmc.Sobol
    generator = derived_generator(seed, "tune", draw)
    if draw == "halton":
        return np.asarray(engine(dimensions, rng=generator).random(trials))
    sequence = engine(dimensions, rng=generator)
    return np.asarray(sequence.random_base2(math.ceil(math.log2(trials))) if trials > 1 else sequence.random(1))[
        :trials
    ]
