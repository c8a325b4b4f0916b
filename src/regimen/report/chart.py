"""Draws one chart as an SVG string: data in, text out, no state, no JavaScript.

Colours are CSS variables of the page (`--soft`, `--grid`, `--c0`, `--c1`, ...), so one drawing serves light, dark and
print. Resting the pointer on the chart shows the numbers at that step. A value that is not finite breaks its line and
leaves a cross.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from regimen.readable import number
from regimen.records.reader import Point
from regimen.report.markup import EMPTY, Markup, join, tag
from regimen.report.series import Span
from regimen.report.ticks import Range, Tick, linear_ticks, log_ticks, padded, step_ticks

WIDTH, HEIGHT = 480, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 22, 12, 40
COLOURS = 8
"""Then they begin again."""
_STRIPS = 80
"""Places across a chart that show their numbers."""
_MOST_MARKED = 40
"""Points up to which each gets a dot."""


class At(NamedTuple):
    """A point of a curve over something else than steps: epochs, or a hyperparameter."""

    step: float
    value: float


@dataclass(frozen=True)
class Line:
    """One curve: what is drawn, the band behind it, and whether its points stand for themselves (dots, dashes)."""

    name: str
    points: Sequence[Point | At]
    band: Sequence[Span] = ()
    dotted: bool = False
    """A dot on each point, if they are few: these were measured at these steps and nowhere between."""
    ghosts: Sequence[Sequence[Point | At]] = ()
    """Thin curves of the same colour: the single runs of which the line is the mean."""
    colour: int | None = None
    """Which of the page's colours; None: by its place in the chart."""


@dataclass(frozen=True)
class Chart:
    """Lines over the steps of a run, with what the axes say."""

    title: str
    unit: str
    """What the vertical axis counts: `nats per token`."""
    lines: Sequence[Line]
    log: bool = False
    """Logarithmic vertical axis; values must be above 0."""
    from_zero: bool = False
    horizontal: str = "step"
    span: Range | None = None
    """Of the horizontal axis, so that charts of one run line up; None: what the lines need."""
    resumes: Sequence[int] = field(default=())
    """Steps at which the run went on after a stop; each is a thin dashed line."""
    log_across: bool = False
    """Logarithmic horizontal axis; steps must be above 0."""
    band_name: str = "range around it"
    """What the bands are, for the legend."""


def svg(chart: Chart) -> Markup:
    """The drawing, titled and with a legend. A chart without a finite value is empty text."""
    values = _finite(chart)
    steps = [point.step for line in chart.lines for point in line.points]
    if not values:
        return EMPTY
    plane = _Plane(chart.span or Range(min(steps), max(steps)), _vertical(chart, values), chart.log, chart.log_across)
    drawing = tag(
        "svg",
        tag("title", f"{chart.title}: {', '.join(line.name for line in chart.lines)} by {chart.horizontal}"),
        _axes(chart, plane),
        join(_resume(step, plane) for step in chart.resumes if plane.x.low < step < plane.x.high),
        join(_line(place, line, plane, chart.horizontal) for place, line in enumerate(chart.lines)),
        _strips(chart, plane),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        class_="chart",
    )
    log = " · log scale" if chart.log else ""
    caption = tag("figcaption", tag("b", chart.title), tag("span", f"{chart.unit}{log}", class_="unit"), _legend(chart))
    return tag("figure", caption, drawing)


@dataclass(frozen=True)
class _Plane:
    """From numbers to places on the drawing."""

    x: Range
    y: Range
    log: bool
    log_across: bool

    def across(self, step: float) -> float:
        low, high = self.x
        if self.log_across:
            low, high, step = math.log(low), math.log(high), math.log(step)
        share = (step - low) / (high - low) if high > low else 0.5
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def down(self, value: float) -> float:
        low, high = self.y
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return round(HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)


def _finite(chart: Chart) -> list[float]:
    drawn = [point.value for line in chart.lines for point in line.points]
    drawn += [end for line in chart.lines for span in line.band for end in (span.low, span.high)]
    drawn += [point.value for line in chart.lines for ghost in line.ghosts for point in ghost]
    return [value for value in drawn if math.isfinite(value)]


def _vertical(chart: Chart, values: list[float]) -> Range:
    found = padded(values, log=chart.log)
    return Range(min(0.0, found.low), found.high) if chart.from_zero and not chart.log else found


def _axes(chart: Chart, plane: _Plane) -> Markup:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    vertical = log_ticks(*plane.y) if plane.log else linear_ticks(*plane.y)
    horizontal = log_ticks(*plane.x) if plane.log_across else step_ticks(*plane.x)
    return join(
        [
            *(_grid_line(tick, plane.down(tick.at), right) for tick in vertical),
            *(_foot(tick, plane.across(tick.at), bottom) for tick in horizontal),
            tag("line", x1=_LEFT, y1=bottom, x2=right, y2=bottom, class_="axis"),
            tag("text", chart.horizontal, x=(_LEFT + right) / 2, y=HEIGHT - 6, text_anchor="middle"),
        ]
    )


def _grid_line(tick: Tick, y: float, right: int) -> Markup:
    line = tag("line", x1=_LEFT, y1=y, x2=right, y2=y, class_="grid")
    return join([line, tag("text", tick.label, x=_LEFT - 6, y=y + 4, text_anchor="end")])


def _foot(tick: Tick, x: float, bottom: int) -> Markup:
    mark = tag("line", x1=x, y1=bottom, x2=x, y2=bottom + 4, class_="axis")
    return join([mark, tag("text", tick.label, x=x, y=bottom + 17, text_anchor="middle")])


def _resume(step: int, plane: _Plane) -> Markup:
    x = plane.across(step)
    return tag(
        "line", tag("title", f"resumed at step {step}"), x1=x, y1=_TOP, x2=x, y2=HEIGHT - _BOTTOM, class_="resume"
    )


def _line(place: int, line: Line, plane: _Plane, horizontal: str) -> Markup:
    colour = _colour(place, line)
    parts = [_band(line.band, plane, colour)] if line.band else []
    parts += [_ghost(ghost, plane, colour) for ghost in line.ghosts]
    parts += [tag("path", d=_path(run, plane), class_=f"line {colour}") for run in _runs(line.points) if len(run) > 1]
    alone = [run[0] for run in _runs(line.points) if len(run) == 1]
    marked = [p for p in line.points if math.isfinite(p.value)] if line.dotted else alone
    if len(marked) <= _MOST_MARKED or not line.dotted:
        parts += [tag("circle", cx=plane.across(p.step), cy=plane.down(p.value), r=3, class_=colour) for p in marked]
    gaps = [point for point in line.points if not math.isfinite(point.value)]
    parts += [_cross(line.name, point, plane, horizontal) for point in gaps[:_MOST_MARKED]]
    return join(parts)


def _colour(place: int, line: Line) -> str:
    return f"c{(place if line.colour is None else line.colour) % COLOURS}"


def _ghost(points: Sequence[Point | At], plane: _Plane, colour: str) -> Markup:
    """It ends where its run diverged."""
    return join(tag("path", d=_path(run, plane), class_=f"ghost {colour}") for run in _runs(points) if len(run) > 1)


def _path(points: Sequence[Point | At], plane: _Plane) -> str:
    return "M" + " ".join(f"{plane.across(step):g},{plane.down(value):g}" for step, value in points)


def _band(spans: Sequence[Span], plane: _Plane, colour: str) -> Markup:
    over = [f"{plane.across(span.step):g},{plane.down(span.high):g}" for span in spans]
    under = [f"{plane.across(span.step):g},{plane.down(span.low):g}" for span in reversed(spans)]
    return tag("polygon", points=" ".join([*over, *under]), class_=f"band {colour}")


def _runs(points: Iterable[Point | At]) -> list[list[Point | At]]:
    """The stretches between values that are not finite."""
    found: list[list[Point | At]] = [[]]
    for point in points:
        if math.isfinite(point.value):
            found[-1].append(point)
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


def _cross(name: str, point: Point | At, plane: _Plane, horizontal: str) -> Markup:
    x, y = plane.across(point.step), HEIGHT - _BOTTOM - 7
    said = tag("title", f"{name} is {number(point.value)} at {horizontal} {number(point.step)}")
    return tag("path", said, d=f"M{x - 4},{y - 4} L{x + 4},{y + 4} M{x - 4},{y + 4} L{x + 4},{y - 4}", class_="cross")


def _strips(chart: Chart, plane: _Plane) -> Markup:
    """Invisible columns, each with the numbers of the points nearest to its middle."""
    steps = sorted({point.step for line in chart.lines for point in line.points})
    count = min(_STRIPS, len(steps))
    chosen = [steps[round(place * (len(steps) - 1) / max(1, count - 1))] for place in range(count)]
    centres = [plane.across(step) for step in chosen]
    edges = [_LEFT, *((a + b) / 2 for a, b in pairwise(centres)), WIDTH - _RIGHT]
    strips = []
    for place, step in enumerate(chosen):
        said = "\n".join(
            [f"{chart.horizontal} {number(step)}", *(_nearest(line, step) for line in chart.lines if line.points)]
        )
        x, width = round(edges[place], 1), round(edges[place + 1] - edges[place], 1)
        strips.append(tag("rect", tag("title", said), x=x, y=_TOP, width=width, height=HEIGHT - _TOP - _BOTTOM))
    return tag("g", join(strips), class_="strips")


def _nearest(line: Line, step: float) -> str:
    place = bisect_left(line.points, step, key=lambda point: point.step)
    near = min(line.points[max(0, place - 1) : place + 1], key=lambda point: abs(point.step - step))
    at = "" if near.step == step else f" (at {number(near.step)})"
    return f"{line.name}: {number(near.value)}{at}"


def _legend(chart: Chart) -> Markup:
    if len(chart.lines) == 1 and not chart.lines[0].band:
        return EMPTY
    entries = [
        tag("span", tag("i", class_=_colour(p, line)), line.name, class_="key") for p, line in enumerate(chart.lines)
    ]
    if any(line.band for line in chart.lines):
        entries.append(tag("span", tag("i", class_="c0 wide"), chart.band_name, class_="key"))
    return tag("span", *entries, class_="legend")
