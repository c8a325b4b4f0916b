"""Differences between optimizers: Welch's test for each pair, Holm's correction over all pairs of all problems."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from regimen.analysis.spread import Spread
from regimen.errors import MissingExtra, Problem

Verdict = Literal["first is better", "second is better", "no evidence of a difference", "too few seeds"]
LEVEL = 0.05
"""A corrected p below it is evidence."""


class Difference(NamedTuple):
    """Of the means of two optimizers' best settings on one problem."""

    problem: str
    first: str
    second: str
    mean: float
    """First minus second, over the seeds that did not diverge."""
    low: float
    high: float
    """Its interval of 95 %, not corrected for the number of pairs; NaN with too few seeds."""
    p: float
    """Of Welch's test, two-sided; NaN with fewer than two seeds of either."""
    corrected_p: float
    """Holm's, over all pairs."""
    verdict: Verdict


class Compared(NamedTuple):
    """One optimizer's numbers on a problem."""

    problem: str
    optimizer: str
    numbers: Spread
    lower_is_better: bool


def differences(compared: Sequence[Compared]) -> list[Difference]:
    """All pairs within each problem. Raises `MissingExtra` without SciPy."""
    found = [
        (a, _welch(a, b)) for place, a in enumerate(compared) for b in compared[place + 1 :] if a.problem == b.problem
    ]
    corrected = holm([difference.p for _, difference in found])
    return [
        difference._replace(corrected_p=p, verdict=_verdict(difference, p, lower_is_better=a.lower_is_better))
        for (a, difference), p in zip(found, corrected, strict=True)
    ]


def holm(ps: Sequence[float]) -> list[float]:
    """Corrected p-values, in the order given (Holm, Scand. J. Statist. 6, 1979); NaN stays and is not counted.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, float("nan")])]
    [0.03, 0.06, 0.06, nan]
    """
    order = sorted((place for place, p in enumerate(ps) if not math.isnan(p)), key=lambda place: ps[place])
    corrected, largest = [math.nan] * len(ps), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * ps[place]))
        corrected[place] = largest
    return corrected


def _welch(a: Compared, b: Compared) -> Difference:
    """Of the spreads alone. Without any spread in either, the means differ for certain or not at all."""
    stdtr, stdtrit = student()
    mean = a.numbers.mean - b.numbers.mean
    first, second = a.numbers.standard_error**2, b.numbers.standard_error**2
    error = math.sqrt(first + second) if not math.isnan(first + second) else math.nan
    low = high = p = math.nan
    if error == 0:
        low, high, p = mean, mean, 0.0 if mean else 1.0
    elif not math.isnan(error):
        share = first / (first + second)
        freedom = 1 / (share**2 / (_finite(a) - 1) + (1 - share) ** 2 / (_finite(b) - 1))
        p = 2 * float(stdtr(freedom, -abs(mean) / error))
        reach = float(stdtrit(freedom, 0.975)) * error
        low, high = mean - reach, mean + reach
    return Difference(a.problem, a.optimizer, b.optimizer, mean, low, high, p, math.nan, "too few seeds")


def _finite(one: Compared) -> int:
    return one.numbers.num_seeds - one.numbers.num_diverged


def _verdict(difference: Difference, p: float, *, lower_is_better: bool) -> Verdict:
    if math.isnan(p):
        return "too few seeds"
    if p >= LEVEL:
        return "no evidence of a difference"
    return "first is better" if (difference.mean < 0) == lower_is_better else "second is better"


def student() -> tuple[Callable[[float, float], float], Callable[[float, float], float]]:
    """The distribution function of Student's t and its inverse; `scipy.stats` would take a second to import."""
    try:
        from scipy.special import stdtr, stdtrit
    except ModuleNotFoundError as error:
        fix = "pip install 'regimen-ml[analysis]'."
        raise MissingExtra(Problem("", "comparing optimizers needs SciPy, which is not installed.", fix)) from error
    return stdtr, stdtrit
