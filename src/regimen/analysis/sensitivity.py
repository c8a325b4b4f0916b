"""How much a result depends on one hyperparameter: the metric over its values, and how wide the good range is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from regimen.analysis.choice import Choice, SettingNumbers
from regimen.analysis.measure import Measure
from regimen.analysis.runs import Run
from regimen.analysis.spread import Spread


class SensitivityPoint(NamedTuple):
    value: float
    """Of the hyperparameter."""
    reported: Spread
    is_good: bool
    """Within the window's share of the best."""


class Window(NamedTuple):
    """The good values around the best one, without a bad one between them."""

    low: float
    high: float
    decades: float
    """log10(high / low): 0 where the neighbours of the best value are bad already."""
    reaches_edge: bool
    """Whether it may be wider than the values that were tried."""


class Sensitivity(NamedTuple):
    """Of one optimizer on one problem, through its best setting: everything else is as it is there."""

    hyperparameter: str
    points: tuple[SensitivityPoint, ...]
    """By value, at least two."""
    untrained: float
    """The metric before training, the median over all runs: what is worse than it has learned nothing."""
    share: float
    """A value is good if it keeps all but this share of the way from the untrained model to the best value."""
    window: Window | None
    """None if even the best value is no better than the untrained model."""


def sensitivity(
    choice: Choice, measure: Measure, hyperparameter: str = "lr", share: float = 0.02
) -> Sensitivity | None:
    """None if the hyperparameter has fewer than two positive values among the settings that otherwise are the best one.

    The good range is measured by the way from the untrained model to the best value, so that it does not depend on
    where a loss has its zero.
    """
    points = _slice(choice, hyperparameter)
    if len(points) < 2:
        return None
    sign = 1.0 if measure.lower_is_better else -1.0
    means = [sign * numbers.reported.mean if not numbers.reported.num_diverged else math.inf for _, numbers in points]
    starts = [
        run.curves[measure.reported].values[0] for _, n in points for run in n.runs.ended if _starts(run, measure)
    ]
    untrained = median(starts) if starts else math.nan
    best, bound = min(means), -math.inf
    if best < sign * untrained:
        bound = best + share * (sign * untrained - best)
    good = [mean <= bound for mean in means]
    made = tuple(
        SensitivityPoint(value, numbers.reported, is_good)
        for (value, numbers), is_good in zip(points, good, strict=True)
    )
    window = _window([value for value, _ in points], good, means.index(best)) if any(good) else None
    return Sensitivity(hyperparameter, made, untrained, share, window)


def _starts(run: Run, measure: Measure) -> bool:
    """Whether the untrained model was measured."""
    curve = run.curves.get(measure.reported)
    return bool(curve and curve.epochs and curve.epochs[0] == 0 and math.isfinite(curve.values[0]))


def _slice(choice: Choice, hyperparameter: str) -> list[tuple[float, SettingNumbers]]:
    """The settings that differ from the best one in the hyperparameter alone, by its value."""
    best = choice.best.runs.setting
    same = [
        one
        for one in choice.ranked
        if one.competes
        and all(
            one.runs.setting.get(key) == best.get(key) for key in {*best, *one.runs.setting} if key != hyperparameter
        )
    ]
    values = [(one.runs.setting.get(hyperparameter), one) for one in same]
    numeric = [
        (float(value), one)
        for value, one in values
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    ]
    return sorted(numeric, key=lambda pair: pair[0])


def _window(values: Sequence[float], good: Sequence[bool], best: int) -> Window:
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(values) - 1 and good[high + 1]:
        high += 1
    edge = low == 0 or high == len(values) - 1
    return Window(values[low], values[high], math.log10(values[high] / values[low]), edge)
