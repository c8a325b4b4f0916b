"""Draws samplers over the agreement of their supernets with the truth, as one SVG that stands alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

from regimen.analysis.samplers import SamplerComparison, SamplerResult
from regimen.report.markup import Markup, join, tag
from regimen.report.ticks import Range, linear_ticks

_WIDTH, _LEFT, _RIGHT = 760, 190, 24
_ROW, _HEAD, _FOOT = 30, 48, 44
_LETTER = 7
"""Width of one, about."""
_GREY, _LIGHT = "#6b7280", "#e5e7eb"
_COLOURS = ("#1668a8", "#c2571a", "#2f7d4f", "#7a4fa3")


def samplers_figure(comparisons: Mapping[str, SamplerComparison], title: str = "Kendall's tau-b") -> Markup:
    """A row a sampler; of each comparison, by its name, the mean with its interval of 95 %, and a dot a supernet.

    Dashed lines are what costs nothing, the line to the right is how well two trainings agree.
    """
    first = next(iter(comparisons.values()))
    names = [result.name for result in first.results]
    free = dict.fromkeys(each.second for each in first.baselines)
    lines = {f"counting {name}": _tau_of(first, name) for name in free}
    if math.isfinite(first.ceiling):
        lines["two trainings"] = first.ceiling
    span = _span(comparisons, list(lines.values()))
    bottom = _HEAD + _ROW * len(names)
    parts = [_axis(span, bottom, title), *_verticals(lines, span, bottom)]
    for row, name in enumerate(names):
        middle = _HEAD + _ROW * (row + 0.5)
        parts.append(tag("text", name, x=_LEFT - 12, y=middle + 4, text_anchor="end"))
        for number, comparison in enumerate(comparisons.values()):
            found = [result for result in comparison.results if result.name == name]
            shift = 9 * (number - (len(comparisons) - 1) / 2)
            parts += [_marks(result, span, middle + shift, _COLOURS[number % len(_COLOURS)]) for result in found]
    return tag(
        "svg",
        tag("title", f"{title} of samplers"),
        tag("rect", width=_WIDTH, height=bottom + _FOOT, fill="white"),
        *parts,
        _legend(list(comparisons)),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {bottom + _FOOT}",
        width=_WIDTH,
        font_family="system-ui, sans-serif",
        font_size=12,
        fill="#111827",
        role="img",
    )


def _tau_of(comparison: SamplerComparison, baseline: str) -> float:
    against = next(each for each in comparison.baselines if each.second == baseline)
    sampler = next(result for result in comparison.results if result.name == against.first)
    return sampler.kendall.value - against.kendall.value


def _span(comparisons: Mapping[str, SamplerComparison], more: list[float]) -> Range:
    results = [result for comparison in comparisons.values() for result in comparison.results]
    ends = [end for result in results for end in (result.kendall.low, result.kendall.high, *result.by_seed)]
    low, high = min([0.0, *ends, *more]), max([*ends, *more])
    return Range(math.floor(low * 10) / 10, math.ceil(high * 10) / 10)


def _across(value: float, span: Range) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - span.low) / (span.high - span.low), 1)


def _axis(span: Range, bottom: float, title: str) -> Markup:
    parts = []
    for tick in linear_ticks(*span):
        at = _across(tick.at, span)
        parts.append(tag("line", x1=at, y1=_HEAD, x2=at, y2=bottom, stroke=_LIGHT))
        parts.append(tag("text", tick.label, x=at, y=bottom + 16, text_anchor="middle", fill=_GREY))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return join([*parts, tag("text", title, x=middle, y=bottom + 36, text_anchor="middle")])


def _verticals(lines: Mapping[str, float], span: Range, bottom: float) -> list[Markup]:
    """Dashed lines with their names above, to one side where the next name would be written over them."""
    parts: list[Markup] = []
    near = _LETTER * max(map(len, lines), default=0)
    places = sorted((_across(value, span), name) for name, value in lines.items())
    for number, (at, name) in enumerate(places):
        before = number > 0 and at - places[number - 1][0] < near
        after = number + 1 < len(places) and places[number + 1][0] - at < near
        anchor, x = ("start", at) if before else ("end", at) if after else ("middle", at)
        parts.append(tag("line", x1=at, y1=_HEAD - 6, x2=at, y2=bottom, stroke=_GREY, stroke_dasharray="4 3"))
        parts.append(tag("text", name, x=x, y=_HEAD - 11, text_anchor=anchor, fill=_GREY))
    return parts


def _marks(result: SamplerResult, span: Range, down: float, colour: str) -> Markup:
    value, low, high = (_across(each, span) for each in result.kendall)
    said = tag("title", f"{result.name}: {result.kendall}")
    dots = [
        tag("circle", cx=_across(tau, span), cy=down, r=2, fill="none", stroke=colour, stroke_opacity=0.7)
        for tau in result.by_seed
    ]
    interval = tag("line", x1=low, y1=down, x2=high, y2=down, stroke=colour, stroke_width=1.5)
    return tag("g", said, interval, *dots, tag("circle", cx=value, cy=down, r=4, fill=colour))


def _legend(names: list[str]) -> Markup:
    parts = []
    for number, name in enumerate(names):
        x = 12 + 130 * number
        parts.append(tag("circle", cx=x, cy=14, r=4, fill=_COLOURS[number % len(_COLOURS)]))
        parts.append(tag("text", name, x=x + 9, y=18))
    return join(parts)
