"""Time to a target: in epochs and seconds, with the runs that never reach it counted as such.

A run that does not reach the target tells only that it takes longer than it ran; no plain mean is taken. Reported are
how many reached it, the median (none if fewer than half did), and the restricted mean, the mean of min(time, horizon),
where the horizon is the shortest of the budgets (Royston & Parmar, BMC Med. Res. Methodol. 13:152, 2013).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import NamedTuple

from regimen.analysis.choice import Choice
from regimen.analysis.measure import Measure
from regimen.analysis.runs import Run


class Reached(NamedTuple):
    """When one run first met the target; both infinite if it never did, `seconds` NaN where no time was recorded."""

    epochs: float
    seconds: float


class TimeToTarget(NamedTuple):
    """Of the seeds of one setting."""

    target: float
    num_seeds: int
    num_reached: int
    median_epochs: float
    """Infinite if fewer than half of the seeds reached it."""
    restricted_mean_epochs: float
    """Mean of min(epochs, horizon)."""
    horizon: float
    """Epochs."""
    median_seconds: float
    """Infinite as the epochs are; NaN where a run recorded no time."""
    each: tuple[Reached, ...]


def reached(run: Run, key: str, target: float, *, lower_is_better: bool) -> Reached:
    """The first evaluation that is at least as good as the target, the untrained model included."""
    curve = run.curves.get(key)
    times = math.inf if curve is not None and curve.seconds else math.nan
    if curve is None:
        return Reached(math.inf, times)
    for place, value in enumerate(curve.values):
        if (value <= target) if lower_is_better else (value >= target):
            return Reached(curve.epochs[place], curve.seconds[place] if curve.seconds else math.nan)
    return Reached(math.inf, times)


def time_to_target(runs: Sequence[Run], measure: Measure, target: float) -> TimeToTarget:
    """Over the seeds of one setting, at least one."""
    each = tuple(reached(run, measure.reported, target, lower_is_better=measure.lower_is_better) for run in runs)
    horizon = min(run.epochs if run.budget is None else run.budget for run in runs)
    seconds = [one.seconds for one in each]
    return TimeToTarget(
        target=target,
        num_seeds=len(each),
        num_reached=sum(math.isfinite(one.epochs) for one in each),
        median_epochs=median(one.epochs for one in each),
        restricted_mean_epochs=fmean(min(one.epochs, horizon) for one in each),
        horizon=horizon,
        median_seconds=math.nan if any(map(math.isnan, seconds)) else median(seconds),
        each=each,
    )


def usual_target(choices: Sequence[Choice], measure: Measure) -> float | None:
    """What the middle one of the optimizers reaches at the end, by the median of its seeds; of two, the worse one.

    None if that one diverges.
    """
    sign = 1.0 if measure.lower_is_better else -1.0
    medians = sorted(sign * choice.numbers.median for choice in choices)
    middle = sign * medians[len(medians) // 2] if medians else math.nan
    return middle if math.isfinite(middle) else None
