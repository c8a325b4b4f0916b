"""Samplers compared by how well their supernets rank networks: what can be told apart, and what cannot.

A number of a sampler is the mean over S supernets of N networks. Other networks would change it, and so would other
seeds. Its variance is the sum of both: the bootstrap's over the networks, with all supernets as they are, and that
between the supernets divided by S. What is peculiar to one network in one supernet is in both, so that intervals are
rather too wide than too narrow. Networks and seeds are the same for all samplers, so that differences are paired.
Degrees of freedom are Satterthwaite's. The noise of the truth is a network's, and is drawn with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from regimen.analysis.pairs import LEVEL, holm, student
from regimen.analysis.spread import Spread, spread
from regimen.errors import DataError, Problem
from regimen.nas.agreement import Numbers, kendall, kendall_of_resamples
from regimen.nas.ranking import FEWEST, Interval
from regimen.randomness import derived_generator

SamplerVerdict = Literal["first is better", "second is better", "cannot be told apart"]


class SamplerResult(NamedTuple):
    """One sampler, over its supernets."""

    name: str
    kendall: Interval
    """tau-b with the truth, the mean over the supernets; one that finds all networks equal counts 0"""
    by_seed: tuple[float, ...]
    """tau-b of each"""
    mean: Interval
    """of all estimates: with accuracies, how good the networks are with the supernet's weights"""
    regret: Spread
    """how much worse than the best network its choice is, over the supernets"""


class SamplerDifference(NamedTuple):
    """Of tau-b, first minus second."""

    first: str
    second: str
    kendall: Interval
    error: float
    """standard error"""
    freedom: float
    """degrees of freedom of it"""
    p: float
    """two-sided, of Student's t"""
    corrected_p: float
    """Holm's, over all pairs of the comparison"""
    verdict: SamplerVerdict


class SamplerComparison(NamedTuple):
    """The numbers; `sentences` says them."""

    num_networks: int
    num_seeds: int
    results: tuple[SamplerResult, ...]
    pairs: tuple[SamplerDifference, ...]
    """every two samplers"""
    baselines: tuple[SamplerDifference, ...]
    """every sampler against what costs nothing; a family of its own for Holm's correction"""
    ceiling: float
    """tau-b of one training alone with another, the mean over all pairs; NaN where there is one"""

    @property
    def visible(self) -> float:
        """How large a difference has to be to be seen, for the steadiest pair that cannot be told apart: half the width
        of its interval, corrected for the number of pairs (Bonferroni). NaN without such a pair.
        """
        _, quantile = student()
        level = LEVEL / max(1, len(self.pairs)) / 2
        untold = [pair for pair in self.pairs if pair.verdict == "cannot be told apart"]
        return min((pair.error * float(quantile(pair.freedom, 1 - level)) for pair in untold), default=math.nan)

    def sentences(self) -> list[str]:
        """What can be told apart, what cannot, and how much the comparison could have seen."""
        told = [pair for pair in self.pairs if pair.verdict != "cannot be told apart"]
        found = [
            f"{better} ranks better than {worse}: tau {pair.kendall} higher, corrected p {_p(pair.corrected_p)}."
            for pair, better, worse in map(_ordered, told)
        ]
        if len(told) < len(self.pairs):
            found.append(
                f"{len(self.pairs) - len(told)} of {len(self.pairs)} pairs cannot be told apart "
                f"({self.num_networks} networks, {self.num_seeds} supernets each): a difference of tau would have to "
                f"be above {self.visible:.2f} for the steadiest of them, and larger for the others."
            )
        for name in dict.fromkeys(each.second for each in self.baselines):
            against = [each for each in self.baselines if each.second == name]
            found.append(f"{_names(against, 'first is better') or 'No sampler ranks'} better than counting {name}.")
            if worse := _names(against, "second is better"):
                found.append(f"{worse} worse than counting {name}.")
        return found


def compare_samplers(
    estimates: Mapping[str, ArrayLike],
    truth: ArrayLike,
    baselines: Mapping[str, ArrayLike] | None = None,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> SamplerComparison:
    """Compares estimates by sampler, each (S, N): row s of all of them is from the same seed, S at least 2.

    `truth` is (N,), or (N, T) of T trainings, whose mean counts; `baselines` are (N,). Larger is better in all.

    Raises `DataError` for shapes that differ, too few seeds or networks, or a number that is not finite, and
    `MissingExtra` without SciPy.
    """
    given = {name: np.asarray(values, dtype=float) for name, values in estimates.items()}
    trials_NT = np.atleast_2d(np.asarray(truth, dtype=float).T).T
    free = {name: np.asarray(values, dtype=float) for name, values in (baselines or {}).items()}
    _check(given, trials_NT, free)
    mean_N = trials_NT.mean(axis=1)
    num_seeds, num_networks = next(iter(given.values())).shape
    draw = derived_generator(seed, "samplers").multinomial(
        num_networks, np.full(num_networks, 1 / num_networks), resamples
    )
    weights_RN = np.concatenate([np.ones((1, num_networks)), draw])  # the first is all of them once: the value itself

    def taus(values_SN: Numbers) -> Numbers:
        return np.nan_to_num(kendall_of_resamples(values_SN, mean_N, weights_RN))  # 0: where all are equal

    tau = {name: taus(values_SN) for name, values_SN in given.items()}
    tau_free = {name: np.repeat(taus(values_N[None]), num_seeds, axis=0) for name, values_N in free.items()}
    results = [_result(name, given[name], tau[name], mean_N, weights_RN) for name in given]
    pairs = [_difference(a, b, tau[a] - tau[b], num_networks) for a, b in combinations(given, 2)]
    against = [_difference(a, b, tau[a] - tau_free[b], num_networks) for b in free for a in given]
    return SamplerComparison(
        num_networks, num_seeds, tuple(results), _corrected(pairs), _corrected(against), _ceiling(trials_NT)
    )


def _check(given: Mapping[str, Numbers], trials_NT: Numbers, free: Mapping[str, Numbers]) -> None:
    place, shapes = "sampler comparison", {values.shape for values in given.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[0] < 2 or shape[1] < FEWEST:
        found = ", ".join(f"{name} {values.shape}" for name, values in given.items()) or "no samplers"
        fix = f"Give each as (seeds, networks), alike for all, 2 seeds and {FEWEST} networks or more."
        raise DataError(Problem(place, f"has {found}.", fix))
    others = {"truth": trials_NT, **free}
    wrong = [f"{name} has {len(values)}" for name, values in others.items() if len(values) != shape[1]]
    if wrong:
        raise DataError(Problem(place, f"is of {shape[1]} networks, and {wrong[0]}.", "Give one number for each."))
    odd = [name for name, values in {**given, **others}.items() if not np.isfinite(values).all()]
    if odd:
        raise DataError(Problem(place, f"has a number in {odd[0]} that is not finite.", "Leave that network out."))


def _result(name: str, values_SN: Numbers, tau_SR: Numbers, mean_N: Numbers, weights_RN: Numbers) -> SamplerResult:
    averages_SR = values_SN @ (weights_RN / weights_RN.sum(axis=1, keepdims=True)).T
    regrets = [float(mean_N.max() - mean_N[row == row.max()].mean()) for row in values_SN]
    number = values_SN.shape[1]
    return SamplerResult(
        name,
        _estimated(tau_SR, number).interval,
        tuple(float(tau) for tau in tau_SR[:, 0]),
        _estimated(averages_SR, number).interval,
        spread(regrets, lower_is_better=True),
    )


class _Estimated(NamedTuple):
    interval: Interval
    error: float
    freedom: float
    p: float


def _estimated(resampled_SR: Numbers, num_networks: int) -> _Estimated:
    """Of the mean over the supernets; column 0 is the value, the others are resamples of the networks."""
    distribution, quantile = student()
    num_seeds, values_S = len(resampled_SR), resampled_SR[:, 0]
    value = float(values_S.mean())
    with_networks = float(np.var(resampled_SR[:, 1:].mean(axis=0)))
    with_seeds = float(values_S.var(ddof=1)) / num_seeds
    total = with_networks + with_seeds
    if total == 0:
        return _Estimated(Interval(value, value, value), 0.0, math.inf, 1.0 if value == 0 else 0.0)
    freedom = total**2 / (with_networks**2 / (num_networks - 1) + with_seeds**2 / (num_seeds - 1))
    error = math.sqrt(total)
    reach = float(quantile(freedom, 0.975)) * error
    p = 2 * float(distribution(freedom, -abs(value) / error))
    return _Estimated(Interval(value, value - reach, value + reach), error, freedom, p)


def _difference(first: str, second: str, differences_SR: Numbers, num_networks: int) -> SamplerDifference:
    found = _estimated(differences_SR, num_networks)
    return SamplerDifference(
        first, second, found.interval, found.error, found.freedom, found.p, math.nan, "cannot be told apart"
    )


def _corrected(pairs: Sequence[SamplerDifference]) -> tuple[SamplerDifference, ...]:
    corrected = holm([pair.p for pair in pairs])
    return tuple(
        pair._replace(corrected_p=p, verdict=_verdict(pair, p)) for pair, p in zip(pairs, corrected, strict=True)
    )


def _verdict(pair: SamplerDifference, p: float) -> SamplerVerdict:
    if not p < LEVEL:
        return "cannot be told apart"
    return "first is better" if pair.kendall.value > 0 else "second is better"


def _ceiling(trials_NT: Numbers) -> float:
    found = [kendall(first, second) for first, second in combinations(trials_NT.T, 2)]
    return fmean(found) if found else math.nan


def _ordered(pair: SamplerDifference) -> tuple[SamplerDifference, str, str]:
    """The pair with a difference above 0, the better and the worse one."""
    if pair.verdict == "first is better":
        return pair, pair.first, pair.second
    value, low, high = pair.kendall
    return pair._replace(kendall=Interval(-value, -high, -low)), pair.second, pair.first


def _names(against: Sequence[SamplerDifference], verdict: SamplerVerdict) -> str:
    names = [f"`{each.first}`" for each in against if each.verdict == verdict]
    if not names:
        return ""
    return f"{', '.join(names)} {'ranks' if len(names) == 1 else 'rank'}"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"
