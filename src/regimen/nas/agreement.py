"""How well two orders agree, over all resamples of a bootstrap at once: Kendall's tau-b and Spearman's rho.

N architectures, R resamples, M measurements that are compared with one truth. A resample is how often it drew each
architecture, so tau-b needs no new sorting: with s = sign(x_i - x_j) and t = sign(y_i - y_j) it is
sum w_i w_j s t / sqrt(sum w_i w_j |s| * sum w_i w_j |t|).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
_EXACT = 2000
"""Architectures up to which a resample of tau is exact."""
_ROWS = 512
"""Architectures whose pairs are in memory at a time."""


def kendall(values: ArrayLike, truth: ArrayLike) -> float:
    """Kendall's tau-b, -1 to 1; NaN where all of one side are equal.

    >>> kendall([1, 2, 3, 4], [1, 2, 4, 3]).__round__(3)
    0.667
    """
    given = np.asarray(values, dtype=float)
    return float(kendall_of_resamples(given[None], np.asarray(truth, dtype=float), np.ones((1, len(given))))[0, 0])


def kendall_of_resamples(values_MN: Numbers, truth_N: Numbers, weights_RN: Numbers) -> Numbers:
    """(M, R): tau-b of each measurement with the truth in each resample; NaN where one side is all equal.

    Exact up to 2,000 architectures; above, to first order in the weights, which is what matters there (the rest shrinks
    with N, and the time would grow with R N^2).
    """
    if len(truth_N) > _EXACT:
        return _to_first_order(values_MN, truth_N, weights_RN)
    counts_RN = weights_RN.astype(np.float32)  # whole numbers, exact
    agree, spread, spread_of_truth = np.split(
        _pair_sums(values_MN, truth_N, lambda rows, pairs: _weighted(counts_RN, rows, pairs)),
        [len(values_MN), 2 * len(values_MN)],
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return agree / np.sqrt(spread * spread_of_truth)


def _to_first_order(values_MN: Numbers, truth_N: Numbers, weights_RN: Numbers) -> Numbers:
    def keep(rows: slice, pairs: NDArray[np.float32]) -> Numbers:
        kept = np.zeros(len(truth_N))
        kept[rows] = pairs.sum(axis=1, dtype=np.float64)
        return kept

    sums = _pair_sums(values_MN, truth_N, keep)
    agree, spread, spread_of_truth = np.split(sums, [len(values_MN), 2 * len(values_MN)])
    totals, of_values, of_truth = (each.sum(axis=1, keepdims=True) for each in (agree, spread, spread_of_truth))
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(of_values * of_truth)
        tau = totals / scale
        slope_MN = 2 * agree / scale - tau * (spread / of_values + spread_of_truth / of_truth)
        found: Numbers = tau + slope_MN @ (weights_RN - 1).T
    return found


def _pair_sums(
    values_MN: Numbers, truth_N: Numbers, reduced: Callable[[slice, NDArray[np.float32]], Numbers]
) -> Numbers:
    """(2 M + 1, ...): sums of s t for each measurement, of |s| for each, and of |t|; `reduced` sums over some rows."""
    total: list[Numbers] = []
    for start in range(0, len(truth_N), _ROWS):
        rows = slice(start, start + _ROWS)
        truth, signs = _signs(truth_N, rows), [_signs(values_N, rows) for values_N in values_MN]
        parts = [*(each * truth for each in signs), *(np.abs(each) for each in signs), np.abs(truth)]
        found = [reduced(rows, part) for part in parts]
        total = found if not total else [before + more for before, more in zip(total, found, strict=True)]
    return np.stack(total)


def _signs(values_N: Numbers, rows: slice) -> NDArray[np.float32]:
    own = values_N[rows, None]
    return (own > values_N).astype(np.float32) - (own < values_N).astype(np.float32)


def _weighted(weights_RN: NDArray[np.float32], rows: slice, pairs: NDArray[np.float32]) -> Numbers:
    """(R,): sum over i of the rows and all j of w_i w_j pairs_ij."""
    total: Numbers = (weights_RN[:, rows].astype(np.float64) * (weights_RN @ pairs.T)).sum(axis=1)
    return total


def spearman_of_resamples(values_MN: Numbers, truth_N: Numbers, weights_RN: Numbers) -> Numbers:
    """(M, R): the correlation of mean ranks; NaN where one side is all equal."""
    truth_RN = _ranks(truth_N, weights_RN)
    return np.stack([_correlation(_ranks(values_N, weights_RN), truth_RN, weights_RN) for values_N in values_MN])


def _ranks(values_N: Numbers, weights_RN: Numbers) -> Numbers:
    """(R, N): the mean rank of each where each occurs as often as it was drawn; equal ones share theirs."""
    _, group = np.unique(values_N, return_inverse=True)
    sizes_RG = np.zeros((len(weights_RN), int(group.max()) + 1))
    for place, number in enumerate(group):
        sizes_RG[:, number] += weights_RN[:, place]
    ranks_RG = np.cumsum(sizes_RG, axis=1) - sizes_RG + (sizes_RG + 1) / 2
    ranks_RN: Numbers = ranks_RG[:, group]
    return ranks_RN


def _correlation(first_RN: Numbers, second_RN: Numbers, weights_RN: Numbers) -> Numbers:
    total = weights_RN.sum(axis=1, keepdims=True)
    first = first_RN - (weights_RN * first_RN).sum(axis=1, keepdims=True) / total
    second = second_RN - (weights_RN * second_RN).sum(axis=1, keepdims=True) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Numbers = (weights_RN * first * second).sum(axis=1) / np.sqrt(
            (weights_RN * first**2).sum(axis=1) * (weights_RN * second**2).sum(axis=1)
        )
    return found


def in_top(values: ArrayLike, share: float) -> Numbers:
    """(N,): how likely each is among the best `share` of all (at least one) where equal ones are drawn at random.

    >>> in_top([3.0, 1.0, 3.0, 2.0], 0.25)
    array([0.5, 0. , 0.5, 0. ])
    """
    given = np.asarray(values, dtype=float)
    number = max(1, round(share * len(given)))
    edge = np.sort(given)[-number]
    above, level = given > edge, given == edge
    found: Numbers = above + level * (number - above.sum()) / level.sum()
    return found
