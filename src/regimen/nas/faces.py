"""How well embeddings tell people apart whom training has not seen: verification of pairs, and identification.

Verification follows the protocol of LFW (Huang et al. 2007, view 2): pairs in folds that share no person; the threshold
on the distance is the best on the other folds, so that no fold judges itself. Distances are Euclidean, of embeddings as
`Criterion.embeddings` gives them; for embeddings of length 1 that is the order of cosines. N rows, P pairs, D numbers
of an embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regimen.errors import DataError, Problem

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]


class Pairs(NamedTuple):
    """Pairs of rows to compare."""

    first: Indices
    """(P,), rows."""
    second: Indices
    """(P,), rows."""
    same: NDArray[np.bool_]
    """(P,), whether both are of one person."""
    fold: Indices
    """(P,), from 0."""


class Verification(NamedTuple):
    """Whether two pictures show one person, asked for many pairs."""

    accuracy: float
    """Mean over the folds, each at the best threshold of the others."""
    spread: float
    """Standard deviation between folds."""
    by_fold: tuple[float, ...]
    thresholds: tuple[float, ...]
    """Largest distance at which a pair counts as one person, by fold."""
    num_pairs: int


class Identification(NamedTuple):
    """Whose face it is, asked for every row against all others."""

    accuracy: float
    """Part of the rows whose nearest `rank` other rows hold one of the same person."""
    rank: int
    num_rows: int
    """Rows that have another of their person; only those can be right."""


def make_pairs(people: ArrayLike, generator: np.random.Generator, *, num_pairs: int = 6000, folds: int = 10) -> Pairs:
    """Up to `num_pairs` different pairs of rows, half of one person and half of two, in folds that share no person.

    `people` (N,) says whom each row shows. A fold with fewer pairs of a sort gives all it has, and as many of the other
    sort. Raises `DataError` where a fold has no pair of one person or no two people.
    """
    assert folds >= 2, "a threshold is chosen on the other folds"
    people_N = np.asarray(people, dtype=np.int64)
    names = generator.permutation(np.unique(people_N))
    parts: list[Pairs] = []
    for fold in range(folds):
        rows = np.flatnonzero(np.isin(people_N, names[fold::folds]))
        first, second = np.triu_indices(len(rows), k=1)
        same = people_N[rows[first]] == people_N[rows[second]]
        wanted = min(-(-num_pairs // (2 * folds)), int(same.sum()), int((~same).sum()))
        if wanted == 0:
            text = f"{len(names)} people with {len(people_N)} pictures are too few for {folds} folds of pairs."
            raise DataError(Problem("pairs of faces", text, "Hold out more people, each with two pictures or more."))
        kept = np.concatenate(
            [np.sort(generator.choice(np.flatnonzero(kind), wanted, replace=False)) for kind in (same, ~same)]
        )
        parts.append(Pairs(rows[first[kept]], rows[second[kept]], same[kept], np.full(len(kept), fold)))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def verification(embeddings: ArrayLike, pairs: Pairs) -> Verification:
    """Accuracy on pairs. `embeddings` is (N, D); where one is not finite, accuracy and spread are NaN."""
    points_ND = np.asarray(embeddings, dtype=np.float64)
    distance_P = np.linalg.norm(points_ND[pairs.first] - points_ND[pairs.second], axis=1)
    accuracies, thresholds = list[float](), list[float]()
    for fold in np.unique(pairs.fold):
        here = pairs.fold == fold
        threshold = best_threshold(distance_P[~here], pairs.same[~here])
        right = (distance_P[here] <= threshold) == pairs.same[here]
        accuracies.append(float(right.mean()) if np.isfinite(distance_P).all() else np.nan)
        thresholds.append(threshold)
    mean, spread = float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))
    return Verification(mean, spread, tuple(accuracies), tuple(thresholds), len(distance_P))


def best_threshold(distances: Numbers, same: NDArray[np.bool_]) -> float:
    """The threshold at which `distance <= threshold` agrees with `same` most often, midway between two distances; the
    smallest of several.
    """
    order = np.argsort(distances, kind="stable")
    sorted_P, same_P = distances[order], same[order]
    # right[k]: the k nearest pairs are taken for one person, the others for two.
    right = np.concatenate([[0], np.cumsum(same_P)]) + np.concatenate([np.cumsum((~same_P)[::-1])[::-1], [0]])
    between = np.concatenate([[True], sorted_P[1:] > sorted_P[:-1], [True]])  # equal distances stay on one side
    best = int(np.where(between, right, -1).argmax())
    low = sorted_P[best - 1] if best else sorted_P[0] - 1.0
    return float((low + sorted_P[best]) / 2 if best < len(sorted_P) else low)


def accepted_at(embeddings: ArrayLike, pairs: Pairs, false_accepts: float) -> float:
    """Part of the pairs of one person that are accepted, where at most this part of the pairs of two people is."""
    assert 0 <= false_accepts < 1
    points_ND = np.asarray(embeddings, dtype=np.float64)
    distance_P = np.linalg.norm(points_ND[pairs.first] - points_ND[pairs.second], axis=1)
    others = np.sort(distance_P[~pairs.same])
    bound = others[int(false_accepts * len(others))]
    return float((distance_P[pairs.same] < bound).mean())


def identification(embeddings: ArrayLike, people: ArrayLike, *, rank: int = 1, rows: int = 1024) -> Identification:
    """Each row is looked up among all others; `rows` at a time, N distances each.

    Raises `DataError` where no person has two rows.
    """
    points_ND = np.asarray(embeddings, dtype=np.float64)
    people_N = np.asarray(people, dtype=np.int64)
    _, number_N, count = np.unique(people_N, return_inverse=True, return_counts=True)
    asked = np.flatnonzero(count[number_N] > 1)
    if len(asked) == 0:
        text = "no person has two pictures, so none can be recognised by another."
        raise DataError(Problem("identification", text, "Hold out people with two pictures or more."))
    square_N = (points_ND**2).sum(axis=1)
    right = 0
    for start in range(0, len(asked), rows):
        some = asked[start : start + rows]
        distance_BN = square_N - 2 * points_ND[some] @ points_ND.T  # without the row's own square: the same order
        distance_BN[np.arange(len(some)), some] = np.inf
        nearest_BK = np.argsort(distance_BN, axis=1, kind="stable")[:, :rank]
        right += int((people_N[nearest_BK] == people_N[some, None]).any(axis=1).sum())
    return Identification(right / len(asked), rank, len(asked))


def split_people(people: ArrayLike, parts: Sequence[float], generator: np.random.Generator) -> list[Indices]:
    """Rows in parts that share no person, `parts` of the people each (they sum to 1 or less); each has one at least.

    Raises `DataError` where there are fewer people than parts.
    """
    people_N = np.asarray(people, dtype=np.int64)
    names = generator.permutation(np.unique(people_N))
    if len(names) < len(parts):
        text = f"{len(names)} people cannot be split in {len(parts)} parts that share none."
        raise DataError(Problem("people", text, "Give more people."))
    found: list[Indices] = []
    start = 0
    for number, part in enumerate(parts):
        left_for_others = len(parts) - number - 1
        end = min(max(start + 1, start + round(part * len(names))), len(names) - left_for_others)
        found.append(np.flatnonzero(np.isin(people_N, names[start:end])))
        start = end
    return found
