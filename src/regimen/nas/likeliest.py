"""The likeliest architectures under independent probabilities of each layer's choices, within limits."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regimen.nas.searchproblem import SearchProblem
from regimen.nas.space import Architecture

_ENUMERABLE = 20_000
"""Spaces up to this size are sorted as a whole: the answer is exact."""


def likeliest(problem: SearchProblem, scores: Sequence[NDArray[np.float64]], number: int = 1) -> list[Architecture]:
    """Up to `number` architectures that keep the limits, by falling sum of `scores`, (K_l,) for layer l.

    Exact in small spaces and where the arg max keeps the limits. Else it starts from the arg max, gives up least score
    for what it gets nearer to the limits, and climbs; empty where that does not reach them.
    """
    if problem.space.num_architectures <= _ENUMERABLE:
        every = np.array(list(problem.space.everything()))
        kept_NL = every[problem.allowed(every)]
        order = np.argsort(-_scored(scores, kept_NL), kind="stable")[:number]
        return [tuple(row) for row in kept_NL[order].tolist()]
    start = _into_limits(problem, scores, tuple(int(np.argmax(layer)) for layer in scores))
    return [] if start is None else _around(problem, scores, _climbed(problem, scores, start), number)


def _scored(scores: Sequence[NDArray[np.float64]], architectures_NL: NDArray[np.int64]) -> NDArray[np.float64]:
    total = np.zeros(len(architectures_NL))
    for layer, choices in enumerate(scores):
        total += choices[architectures_NL[:, layer]]
    return total


def _near(problem: SearchProblem, architecture: Architecture) -> NDArray[np.int64]:
    return np.array(list(problem.space.neighbours(architecture)), dtype=np.int64).reshape(-1, len(architecture))


def _into_limits(
    problem: SearchProblem, scores: Sequence[NDArray[np.float64]], at: Architecture
) -> Architecture | None:
    excess = float(problem.excess([at])[0])
    while excess > 0:
        near_NL = _near(problem, at)
        gained = excess - problem.excess(near_NL)
        lost = _scored(scores, np.array([at]))[0] - _scored(scores, near_NL)
        better = np.flatnonzero(gained > 0)
        if not len(better):
            return None
        chosen = better[np.argmin(np.maximum(lost[better], 0) / gained[better])]
        at, excess = tuple(near_NL[chosen].tolist()), excess - float(gained[chosen])
        if excess < 1e-12:
            excess = float(problem.excess([at])[0])
    return at if problem.allowed([at])[0] else None


def _climbed(problem: SearchProblem, scores: Sequence[NDArray[np.float64]], at: Architecture) -> Architecture:
    while True:
        near_NL = _near(problem, at)
        near_NL = near_NL[problem.allowed(near_NL)]
        there = _scored(scores, near_NL)
        if not len(there) or there.max() <= _scored(scores, np.array([at]))[0]:
            return at
        at = tuple(near_NL[int(there.argmax())].tolist())


def _around(
    problem: SearchProblem, scores: Sequence[NDArray[np.float64]], start: Architecture, number: int
) -> list[Architecture]:
    """Best first from neighbour to neighbour: without limits each next one is the best that is left."""
    found: list[Architecture] = []
    heap, seen = [(-float(_scored(scores, np.array([start]))[0]), start)], {start}
    while heap and len(found) < number:
        _, at = heapq.heappop(heap)
        found.append(at)
        near_NL = _near(problem, at)
        near_NL = near_NL[problem.allowed(near_NL)]
        for score, row in zip(_scored(scores, near_NL), near_NL.tolist(), strict=True):
            if tuple(row) not in seen:
                seen.add(tuple(row))
                heapq.heappush(heap, (-float(score), tuple(row)))
    return found
