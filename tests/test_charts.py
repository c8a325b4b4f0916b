"""Charts: any curve is drawn, nothing of it is hidden, and the axes can be read."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimen.records.reader import Point
from regimen.report.chart import Chart, Line, svg
from regimen.report.series import decimated, smoothed
from regimen.report.ticks import linear_ticks, log_ticks

values = st.floats(allow_nan=True, allow_infinity=True, width=32)
curves = st.lists(values, max_size=60).map(lambda found: [Point(step * 3, value) for step, value in enumerate(found)])


@given(curves, curves)
def test_any_curve_is_drawn_inside_the_picture(first: list[Point], second: list[Point]) -> None:
    calm = smoothed(first)
    drawing = svg(Chart("t", "u", [Line("a", calm.line, calm.band), Line("b", second, dotted=True)]))
    if not any(math.isfinite(point.value) for point in [*first, *second]):
        assert drawing == ""
        return
    tree = ElementTree.fromstring(drawing)
    for element in tree.iter():
        for key, low, high in (("cx", 0, 480), ("cy", 0, 250), ("x", 0, 480), ("y", 0, 250)):
            assert low <= float(element.get(key, 0)) <= high
        for pair in re.findall(r"(-?[\d.e+]+),(-?[\d.e+]+)", element.get("d", "") + element.get("points", "")):
            assert 0 <= float(pair[0]) <= 480
            assert 0 <= float(pair[1]) <= 250


def test_a_value_that_is_not_finite_breaks_the_line_and_leaves_a_cross() -> None:
    points = [Point(step, math.nan if step == 5 else 1.0 + step) for step in range(10)]
    drawing = svg(Chart("t", "u", [Line("a", points)]))
    assert drawing.count('class="line c0"') == 2
    assert "a is NaN at step 5" in drawing


@given(curves, st.integers(20, 60))
def test_decimation_keeps_ends_and_extremes(points: list[Point], most: int) -> None:
    kept = decimated(points * 4, most)
    assert len(kept) <= max(most, 1)
    finite = [point.value for point in points if math.isfinite(point.value)]
    if finite:
        assert {min(finite), max(finite)} <= {point.value for point in kept}
    if points:
        assert repr((kept[0], kept[-1])) == repr((points[0], points[-1]))


@given(curves, st.integers(1, 40))
def test_the_smoothed_line_stays_in_its_band_and_the_band_holds_every_value(points: list[Point], times: int) -> None:
    long = [Point(step, point.value) for step, point in enumerate(points * times)]
    line, band = smoothed(long)
    if not band:
        return
    spans = {span.step: span for span in band}
    for step, value in line:
        assert not math.isfinite(value) or spans[step].low <= value <= spans[step].high
    finite = [point.value for point in long if math.isfinite(point.value)]
    assert (min(span.low for span in band), max(span.high for span in band)) == (min(finite), max(finite))
    assert len(line) <= 400 + sum(not math.isfinite(point.value) for point in long) * 2


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12))
def test_ticks_lie_inside_and_read_apart(low: float, width: float) -> None:
    high = low + width
    if not high - low > 1e-6 * abs(low):
        return
    ticks = linear_ticks(low, high)
    assert 2 <= len(ticks) <= 12
    slack = 1e-6 * width
    assert all(low - slack <= tick.at <= high + slack for tick in ticks)


@pytest.mark.parametrize(("low", "high"), [(0, 1000), (1.02, 2.9), (0, 2e-4), (3e6, 9e6), (0.998, 1.002), (-5, 5)])
def test_labels_of_neighbours_differ(low: float, high: float) -> None:
    labels = [tick.label for tick in linear_ticks(low, high)]
    assert len(set(labels)) == len(labels)


@given(st.floats(1e-12, 1e6), st.floats(51, 1e9))
def test_a_log_axis_has_ticks(low: float, ratio: float) -> None:
    ticks = log_ticks(low, low * ratio)
    assert 1 <= len(ticks) <= 10
    assert all(low * 0.99 <= tick.at <= low * ratio * 1.01 for tick in ticks)
