"""Draws estimates against the truth, one dot an architecture, as an SVG string in the style of a run's report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from regimen.nas.ranking import Interval
from regimen.readable import number
from regimen.report.chart import HEIGHT, WIDTH
from regimen.report.markup import Markup, join, tag
from regimen.report.ticks import Range, linear_ticks, padded

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 22, 12, 40
_MOST_DOTS = 1000
"""More are thinned evenly along the truth."""


def ranking_figure(
    estimates: ArrayLike,
    truth: ArrayLike,
    names: Sequence[str] = (),
    *,
    tau: Interval,
    across: str = "trained on its own",
    up: str = "estimate",
) -> Markup:
    """Estimates (N,) over truth (N,) or the mean of (N, T), with `tau` in the caption; `names` are shown on the dots.

    What could not be judged has no dot.
    """
    given = np.asarray(estimates, dtype=float)
    trained = np.asarray(truth, dtype=float).reshape(len(given), -1).mean(axis=1)
    order = [int(place) for place in np.argsort(trained, kind="stable") if np.isfinite(given[place])]
    order = order[:: -(-len(order) // _MOST_DOTS) or 1]
    if not order:
        return Markup()
    x = padded([float(trained[place]) for place in order], log=False)
    y = padded([float(given[place]) for place in order], log=False)
    dots = []
    for place in order:
        label = f"{names[place]}: " if len(names) else ""
        said = tag("title", f"{label}{up} {number(float(given[place]))}, {across} {number(float(trained[place]))}")
        dots.append(tag("circle", said, cx=_across(trained[place], x), cy=_down(given[place], y), r=2.5, class_="c0"))
    drawing = tag(
        "svg",
        tag("title", f"{up} against {across}"),
        _axes(x, y, across),
        join(dots),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )
    caption = f"tau {tau}"
    return tag("figure", tag("figcaption", tag("b", up), tag("span", caption, class_="unit")), drawing)


def _axes(x: Range, y: Range, across: str) -> Markup:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = [tag("line", x1=_LEFT, y1=bottom, x2=right, y2=bottom, class_="axis")]
    for tick in linear_ticks(*y):
        at = _down(tick.at, y)
        parts.append(tag("line", x1=_LEFT, y1=at, x2=right, y2=at, class_="grid"))
        parts.append(tag("text", tick.label, x=_LEFT - 6, y=at + 4, text_anchor="end"))
    for tick in linear_ticks(*x):
        at = _across(tick.at, x)
        parts.append(tag("line", x1=at, y1=bottom, x2=at, y2=bottom + 4, class_="axis"))
        parts.append(tag("text", tick.label, x=at, y=bottom + 17, text_anchor="middle"))
    parts.append(tag("text", across, x=(_LEFT + right) / 2, y=HEIGHT - 6, text_anchor="middle"))
    return join(parts)


def _across(value: float, x: Range) -> float:
    return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (float(value) - x.low) / (x.high - x.low), 1)


def _down(value: float, y: Range) -> float:
    return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (y.high - float(value)) / (y.high - y.low), 1)
