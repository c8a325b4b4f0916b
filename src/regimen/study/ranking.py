"""Which setting is the best: those that trained with every seed first, by the metric over the seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from regimen.study.trial import Setting, Trial


class Standing(NamedTuple):
    """A setting among the others."""

    number: int
    setting: Setting
    rung: int
    """The highest one that it reached; 0 without rungs."""
    values: dict[int, float]
    """The metric by seed, of the runs that completed."""
    num_failed: int
    """Seeds with which training diverged or failed: they have no value, and none is made up."""
    value: float | None
    """Over the seeds; None where a seed has none."""


def standings(
    trials: Iterable[Trial], *, over: Literal["mean", "median"], mode: Literal["min", "max"]
) -> list[Standing]:
    """The settings, best first. What went further in halving comes before what was dropped earlier; settings that
    failed with some seed come last, those with fewer failures first.
    """
    groups: dict[tuple[int, int], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.place.number, trial.place.rung), []).append(trial)
    highest = {number: max(r for n, r in groups if n == number) for number, _ in groups}
    found = [standing(groups[number, rung], over) for number, rung in highest.items()]
    sign = 1 if mode == "min" else -1

    def order(each: Standing) -> tuple[bool, int, int, float, int]:
        middle = _over(each.values.values(), over)
        last = math.inf if middle is None else sign * middle
        return each.value is None, -each.rung, each.num_failed, last, each.number

    return sorted(found, key=order)


def standing(trials: Sequence[Trial], over: Literal["mean", "median"]) -> Standing:
    """Of the trials of one setting on one rung."""
    values = {trial.place.seed: trial.value for trial in trials if trial.value is not None}
    failed = len(trials) - len(values)
    value = None if failed else _over(values.values(), over)
    return Standing(trials[0].place.number, trials[0].setting, trials[0].place.rung, values, failed, value)


def score(trials: Sequence[Trial], over: Literal["mean", "median"], mode: Literal["min", "max"]) -> float:
    """For a tuner: lower is better, infinite where a seed failed."""
    value = standing(trials, over).value
    return math.inf if value is None else value if mode == "min" else -value


def _over(values: Iterable[float], over: Literal["mean", "median"]) -> float | None:
    numbers = list(values)
    if not numbers:
        return None
    return statistics.fmean(numbers) if over == "mean" else statistics.median(numbers)
