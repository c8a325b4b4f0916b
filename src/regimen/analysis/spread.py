"""The numbers of several seeds: how many, mean, spread, median."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import NamedTuple


class Spread(NamedTuple):
    """Of one metric over seeds. A run that diverged has no number; it is counted, and the median takes it as worst."""

    num_seeds: int
    num_diverged: int
    mean: float
    """Over the seeds that did not diverge; NaN if none."""
    std: float
    """Their standard deviation with n - 1; NaN below two."""
    median: float
    """Over all seeds, diverged ones beyond all others: infinite if half of them diverged."""
    low: float
    high: float
    """The extremes of those that did not diverge; NaN if none."""

    @property
    def standard_error(self) -> float:
        return self.std / math.sqrt(self.num_seeds - self.num_diverged) if not math.isnan(self.std) else math.nan


def spread(values: Sequence[float], *, lower_is_better: bool) -> Spread:
    """Of one number a seed; one that is not finite stands for a run that diverged.

    >>> s = spread([1.0, 2.0, 3.0, float("nan")], lower_is_better=True)
    >>> s.num_seeds, s.num_diverged, s.mean, s.std, s.median
    (4, 1, 2.0, 1.0, 2.5)
    """
    finite = [value for value in values if math.isfinite(value)]
    worst = math.inf if lower_is_better else -math.inf
    everything = [value if math.isfinite(value) else worst for value in values]
    return Spread(
        num_seeds=len(values),
        num_diverged=len(values) - len(finite),
        mean=fmean(finite) if finite else math.nan,
        std=stdev(finite) if len(finite) > 1 else math.nan,
        median=median(everything) if everything else math.nan,
        low=min(finite, default=math.nan),
        high=max(finite, default=math.nan),
    )
