"""A tuner on curves that are there already: what a protocol would have cost and chosen, without training anything.

curves = {0.01: {42: [353.4, 103.2, ...]}, 0.1: {...}}      # by setting and seed, the metric after epoch 0, 1, ...
replay(curves, Halving(), epochs=100).tuning_epochs
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from regimen.study.methods import Halving, Method
from regimen.study.outcome import judged
from regimen.study.ranking import Standing, score, standings
from regimen.study.space import Choices
from regimen.study.trial import Place, Reached, Trial
from regimen.study.tuners import make_tuner

Curves = Mapping[Any, Mapping[int, Sequence[float]]]
_PATH = "setting"


class Replayed(NamedTuple):
    """What a protocol cost, and what it chose."""

    best: Hashable | None
    """A key of the curves; None where nothing trained to the end."""
    value: float | None
    """Of the best, over the tuning seeds."""
    tuning_epochs: float
    """What ends early counts up to there."""
    rerun_epochs: float
    standings: list[Standing]

    @property
    def epochs(self) -> float:
        return self.tuning_epochs + self.rerun_epochs


def replay(
    curves: Curves,
    method: Method,
    *,
    epochs: int,
    seeds: Sequence[int] = (42,),
    fresh: int = 10,
    mode: Literal["min", "max"] = "min",
    at: Literal["final", "best"] = "final",
    over: Literal["mean", "median"] = "mean",
) -> Replayed:
    """Replays tuning among the settings of `curves`, and a rerun of its choice with `fresh` seeds.

    A curve ends at its first number that is not finite: there a run would have diverged. A promoted setting goes on
    from its checkpoint unless `method.go_on` is false. Raises `KeyError` where a curve for a seed is missing.
    """
    names = list(curves)
    tuner = make_tuner(method, {_PATH: Choices(choices=list(range(len(names))))}, epochs)
    goes_on = not (isinstance(method, Halving) and method.go_on is False)
    trials: dict[Place, Trial] = {}
    while wishes := tuner.wishes(_scores(trials, seeds, over, mode)):
        for wish in wishes:
            for seed in seeds:
                place = Place("", "tuning", wish.number, wish.rung, seed)
                below = trials.get(place._replace(rung=wish.rung - 1)) if goes_on else None
                paid = below.curve[-1].epoch if below and below.curve else 0.0
                curve = _until(curves[names[wish.setting[_PATH]]][seed], int(wish.epochs or epochs))
                trials[place] = _trial(place, wish.setting, curve, int(wish.epochs or epochs), paid, at, mode)
    ranked = standings(trials.values(), over=over, mode=mode)
    best = ranked[0] if ranked and ranked[0].value is not None else None
    chosen = names[best.setting[_PATH]] if best else None
    spent = sum(trial.epochs or 0.0 for trial in trials.values())
    return Replayed(chosen, best.value if best else None, spent, fresh * epochs if best else 0.0, ranked)


def _scores(
    trials: Mapping[Place, Trial], seeds: Sequence[int], over: Literal["mean", "median"], mode: Literal["min", "max"]
) -> dict[tuple[int, int], float]:
    places = dict.fromkeys((place.number, place.rung) for place in trials)
    return {
        (number, rung): score([trials[Place("", "tuning", number, rung, seed)] for seed in seeds], over, mode)
        for number, rung in places
    }


def _until(values: Sequence[float], epochs: int) -> tuple[Reached, ...]:
    """Up to an epoch, or to the last number before one that is not finite."""
    curve: list[Reached] = []
    for epoch, value in enumerate(values[: epochs + 1]):
        if not math.isfinite(value):
            break
        curve.append(Reached(epoch, value))
    return tuple(curve)


def _trial(
    place: Place,
    setting: Mapping[str, Any],
    curve: tuple[Reached, ...],
    epochs: int,
    paid: float,
    at: Literal["final", "best"],
    mode: Literal["min", "max"],
) -> Trial:
    completed = len(curve) == epochs + 1
    # The epoch in which a run diverges is begun, and counted.
    cost = (epochs if completed else len(curve)) - paid
    value = judged(curve, at, mode) if completed else None
    return Trial(place, setting, "completed" if completed else "diverged", value, curve, max(0.0, cost), 0.0)
