"""Whether estimates rank architectures as training each of them does: next to counting parameters, and to the ceiling.

A supernet is of use where it ranks better than what costs nothing (parameters, multiply-adds). How well two trainings
agree says how sure the truth is: with one training nothing can be expected to agree more.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from regimen.errors import DataError, Problem
from regimen.nas.agreement import Numbers, in_top, kendall, kendall_of_resamples, spearman_of_resamples
from regimen.randomness import derived_generator

_TOP = 0.2
"""Share of the architectures, by truth, inside which the order is looked at once more."""
FEWEST = 5
"""Below so many architectures an order says nothing."""

Verdict = Literal["better", "not better", "worse"]


def said(value: float) -> str:
    """With three digits, or that there is no such number: where all of one side are equal.

    >>> said(0.5), said(float("nan"))
    ('0.500', 'not defined')
    """
    return f"{value:.3f}" if np.isfinite(value) else "not defined"


class Interval(NamedTuple):
    """A number and where it lies with 95 % confidence (percentile bootstrap over the architectures)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return said(self.value)
        return f"{said(self.value)} ({said(self.low)} to {said(self.high)})"


class Agreement(NamedTuple):
    """How one order agrees with the truth. NaN where all of one side are equal."""

    kendall: Interval
    """tau-b, -1 to 1"""
    spearman: Interval
    precision_5: float
    """share of its best 5 % that are among the truly best 5 %; equal ones drawn at random"""
    precision_10: float
    worst_10: float
    """share of its worst 10 % that are among the truly worst 10 %"""
    kendall_top: float
    """tau-b inside the truly best 20 %"""
    regret: float
    """how much worse than the best its choice is, in the unit of the truth; the mean over equal choices"""


class Baseline(NamedTuple):
    """What costs nothing, and how much better the estimates rank."""

    name: str
    agreement: Agreement
    advantage: Interval
    """tau-b of the estimates minus its own, in the same resamples"""
    verdict: Verdict
    """of the estimates against it; `not better` where the interval holds 0"""


class Ceiling(NamedTuple):
    """tau-b of one training with another, the mean over all pairs of trials."""

    kendall: float
    kendall_top: float
    """inside the best 20 % by the mean of all trials"""


class RankingReport(NamedTuple):
    """The numbers; `sentences` says them."""

    num_architectures: int
    num_unjudged: int
    """Estimates that were NaN; they are ranked last."""
    estimates: Agreement
    baselines: tuple[Baseline, ...]
    ceiling: Ceiling | None
    """None where each architecture was trained once."""

    def sentences(self, who: str = "The estimates rank") -> list[str]:
        """What a reader must know, the worst news first. `who` is the subject and its verb: `The supernet ranks`."""
        tau = self.estimates.kendall
        found = [_against(who, tau, each) for each in sorted(self.baselines, key=lambda each: each.advantage.value)]
        if not tau.low > 0:
            found.insert(0, f"{who} no better than a random order does: tau {tau}.")
        else:
            found.append(f"Over {self.num_architectures} architectures tau is {tau}.")
        if self.ceiling is not None:
            found.append(
                f"Two trainings of the same networks agree to tau {said(self.ceiling.kendall)}: the truth is no surer."
            )
        if self.num_unjudged:
            found.append(f"{self.num_unjudged} could not be judged, and are ranked last.")
        return found


def _against(who: str, tau: Interval, baseline: Baseline) -> str:
    other = baseline.agreement.kendall.value
    verdict = f"{who} {'no better' if baseline.verdict == 'not better' else baseline.verdict} than counting"
    return f"{verdict} {baseline.name}: tau {said(tau.value)} against {said(other)}, difference {baseline.advantage}."


def ranking_report(
    estimates: ArrayLike,
    truth: ArrayLike,
    baselines: Mapping[str, ArrayLike] | None = None,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> RankingReport:
    """Compares `estimates` (N,), larger is better, with `truth`: (N,), or (N, T) of T trainings, whose mean counts.

    `baselines` are (N,) by name, larger is taken for better: `{"parameters": .., "multiply-adds": ..}`. Raises
    `DataError` for lengths that differ, fewer than 5 architectures, or a truth that is not finite.
    """
    given = np.asarray(estimates, dtype=float)
    trials_NT = np.atleast_2d(np.asarray(truth, dtype=float).T).T
    others = {name: np.asarray(values, dtype=float) for name, values in (baselines or {}).items()}
    _check(given, trials_NT, others)
    mean = trials_NT.mean(axis=1)
    judged = np.where(np.isnan(given), -np.inf, given)
    values_MN = np.stack([judged, *others.values()])
    drawn = derived_generator(seed, "ranking").multinomial(len(given), np.full(len(given), 1 / len(given)), resamples)
    weights = np.concatenate([np.ones((1, len(given))), drawn])  # the first is all of them once: the value itself
    taus, rhos = kendall_of_resamples(values_MN, mean, weights), spearman_of_resamples(values_MN, mean, weights)
    agreements = [_agreement(values, mean, tau, rho) for values, tau, rho in zip(values_MN, taus, rhos, strict=True)]
    compared = [
        _baseline(name, agreement, taus[0] - tau)
        for name, agreement, tau in zip(others, agreements[1:], taus[1:], strict=True)
    ]
    unjudged = int(np.isnan(given).sum())
    return RankingReport(len(given), unjudged, agreements[0], tuple(compared), _ceiling(trials_NT, mean))


def _check(given: Numbers, trials_NT: Numbers, others: Mapping[str, Numbers]) -> None:
    place = "ranking"
    if len(given) < FEWEST:
        fix = f"Give {FEWEST} or more."
        raise DataError(Problem(place, f"has {len(given)} architectures: too few to rank.", fix))
    wrong = [f"{name} has {len(v)}" for name, v in {"truth": trials_NT, **others}.items() if len(v) != len(given)]
    if wrong:
        raise DataError(Problem(place, f"has {len(given)} estimates, and {wrong[0]}.", "Give one number for each."))
    if not np.isfinite(trials_NT).all() or not all(np.isfinite(values).all() for values in others.values()):
        raise DataError(
            Problem(place, "has a truth or a baseline that is not finite.", "Leave these architectures out.")
        )


def _agreement(values: Numbers, truth: Numbers, tau: Numbers, rho: Numbers) -> Agreement:
    best = values == values.max()
    top = truth >= np.sort(truth)[-max(2, round(_TOP * len(truth)))]
    return Agreement(
        kendall=_interval(tau),
        spearman=_interval(rho),
        precision_5=_overlap(values, truth, 0.05),
        precision_10=_overlap(values, truth, 0.1),
        worst_10=_overlap(-values, -truth, 0.1),
        kendall_top=kendall(values[top], truth[top]),
        regret=float(truth.max() - truth[best].mean()),
    )


def _overlap(values: Numbers, truth: Numbers, share: float) -> float:
    chosen = in_top(values, share)
    return float((chosen * in_top(truth, share)).sum() / chosen.sum())


def _interval(resampled: Numbers) -> Interval:
    """The first is the value itself."""
    finite = resampled[1:][np.isfinite(resampled[1:])]
    low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
    return Interval(float(resampled[0]), float(low), float(high))


def _baseline(name: str, agreement: Agreement, differences: Numbers) -> Baseline:
    advantage = _interval(differences)
    verdict: Verdict = "better" if advantage.low > 0 else "worse" if advantage.high < 0 else "not better"
    return Baseline(name, agreement, advantage, verdict)


def _ceiling(trials_NT: Numbers, mean: Numbers) -> Ceiling | None:
    pairs = list(combinations(trials_NT.T, 2))
    if not pairs:
        return None
    top = mean >= np.sort(mean)[-max(2, round(_TOP * len(mean)))]
    whole = [kendall(first, second) for first, second in pairs]
    inside = [kendall(first[top], second[top]) for first, second in pairs]
    return Ceiling(float(np.mean(whole)), float(np.mean(inside)))
