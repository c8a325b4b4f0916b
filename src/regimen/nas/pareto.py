"""Two aims at once, quality up and cost down: who is beaten by nobody, and in which order the others come."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def front(qualities: ArrayLike, costs: ArrayLike) -> list[int]:
    """Places of those that no other one beats, cheapest first; along them quality rises strictly. Of equals the first.

    >>> front([1.0, 3.0, 2.0, 3.0], [1.0, 5.0, 6.0, 4.0])
    [0, 3]
    """
    quality, cost = np.asarray(qualities, dtype=float), np.asarray(costs, dtype=float)
    found: list[int] = []
    best = -np.inf
    for place in np.lexsort((np.arange(len(cost)), -quality, cost)):
        if quality[place] > best:
            best = float(quality[place])
            found.append(int(place))
    return found


def layers(qualities: ArrayLike, costs: ArrayLike) -> list[list[int]]:
    """Fronts one after the other: the first is beaten by nobody, the second by the first alone, and so on."""
    quality, cost = np.asarray(qualities, dtype=float), np.asarray(costs, dtype=float)
    better = (quality[:, None] >= quality) & (cost[:, None] <= cost)
    beats = better & ~better.T
    left, found = np.ones(len(quality), dtype=bool), list[list[int]]()
    while left.any():
        free = left & ~(beats & left[:, None]).any(axis=0)
        found.append(np.flatnonzero(free).tolist())
        left &= ~free
    return found


def crowding(qualities: Sequence[float], costs: Sequence[float]) -> NDArray[np.float64]:
    """How far apart the neighbours of each are, summed over both aims; infinite at the ends (Deb et al. 2002)."""
    total = np.zeros(len(qualities))
    for values in (np.asarray(qualities, dtype=float), np.asarray(costs, dtype=float)):
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        width = ordered[-1] - ordered[0] if len(ordered) else 0.0
        total[order[[0, -1]]] = np.inf
        if width > 0:
            total[order[1:-1]] += (ordered[2:] - ordered[:-2]) / width
    return total
