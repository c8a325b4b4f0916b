"""Makes recorded curves small enough to draw and calm enough to read, without hiding a spike or a gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from regimen.records.reader import Point

MOST_POINTS = 400
"""Drawn of one curve."""
_FEWEST_TO_SMOOTH = 16


class Span(NamedTuple):
    """What was recorded around a step: between `low` and `high`."""

    step: float
    low: float
    high: float


class Smoothed(NamedTuple):
    line: list[Point]
    band: list[Span]
    """Empty where there were too few points to smooth."""


def decimated(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points with every extreme kept: first, lowest, highest and a not finite one of each bucket.

    >>> spike = [Point(s, 9.0 if s == 777 else 1.0) for s in range(10_000)]
    >>> max(p.value for p in decimated(spike, 100)), len(decimated(spike, 100)) <= 100
    (9.0, True)
    """
    if len(points) <= most:
        return list(points)
    buckets = max(1, (most - 1) // 4)
    size = len(points) / buckets
    kept: dict[int, Point] = {}
    for bucket in range(buckets):
        places = range(int(bucket * size), int((bucket + 1) * size))
        finite = [place for place in places if math.isfinite(points[place].value)]
        chosen = [places[0], *[place for place in places if not math.isfinite(points[place].value)][:1]]
        if finite:
            value = [points[place].value for place in finite]
            chosen += [finite[value.index(min(value))], finite[value.index(max(value))]]
        kept |= {place: points[place] for place in chosen}
    kept[len(points) - 1] = points[-1]
    return [kept[place] for place in sorted(kept)]


def smoothed(points: Sequence[Point], most: int = MOST_POINTS // 2) -> Smoothed:
    """The mean and the range over a window around each step: a fortieth of the curve, at least 5 points.

    The window is centred, so the line does not lag, and shrinks towards both ends and at values that are not finite,
    so it ends where the curve ends. Drawn at about `most` steps; no recorded value lies outside the band.
    """
    if len(points) < _FEWEST_TO_SMOOTH:
        return Smoothed(decimated(points, 2 * most), [])
    half, every = max(2, len(points) // 80), max(1, len(points) // most)
    line: list[Point] = []
    band: list[Span] = []
    for finite, stretch in groupby(points, key=lambda point: math.isfinite(point.value)):
        run = list(stretch)
        if not finite:
            line.append(run[0])
            continue
        for place in sorted({*range(0, len(run), every), len(run) - 1}):
            reach = min(half, place, len(run) - 1 - place)
            values = [point.value for point in run[place - reach : place + reach + 1]]
            low, high = min(values), max(values)
            line.append(Point(run[place].step, min(high, max(low, sum(values) / len(values)))))
            band.append(Span(run[place].step, low, high))
    return Smoothed(line, band)


def needs_log(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows more: all above 0, and the largest more than 50 times the smallest."""
    return bool(values) and min(values) > 0 and max(values) > 50 * min(values)
