"""The charts of an analysis: learning curves of the best settings, sensitivity to a hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from regimen.analysis.runs import Curve
from regimen.analysis.sensitivity import Sensitivity
from regimen.analysis.summary import OptimizerResult, ProblemResult
from regimen.report.chart import At, Chart, Line
from regimen.report.glossary import meaning
from regimen.report.series import Span, needs_log
from regimen.report.ticks import Range

_BAND = "± 1 standard deviation"
_MOST_GHOSTS = 20
"""Single runs that are drawn behind a mean."""
_MOST_POINTS = 300


def learning_curves(problem: ProblemResult, names: Sequence[str]) -> list[Chart]:
    """The reported metric over all epochs, its last half enlarged, and the training loss.

    `names` are all optimizers of the page: each has its colour on all of it.
    """
    reported = problem.measure.reported
    whole = _chart(problem, names, reported, f"{reported}, best settings")
    end = max((line.points[-1].step for line in whole.lines if line.points), default=0.0)
    charts = [whole]
    if end >= 4:
        charts.append(_chart(problem, names, reported, f"{reported}, second half", since=end / 2))
    training = next((key for key in ("train_eval/loss", "train/loss") if key != reported and _has(problem, key)), None)
    if training is not None:
        charts.append(_chart(problem, names, training, "loss on training rows, best settings"))
    return [chart for chart in charts if chart.lines]


def _has(problem: ProblemResult, key: str) -> bool:
    return any(key in run.curves for result in problem.results for run in result.choice.runs)


def _chart(problem: ProblemResult, names: Sequence[str], key: str, title: str, since: float = -math.inf) -> Chart:
    lines = [line for result in problem.results if (line := _line(result, names, key, since)).points]
    values = [value for line in lines for point in line.points if math.isfinite(value := point.value)]
    ends = [end for line in lines for span in line.band for end in (span.low, span.high)]
    epochs = [point.step for line in lines for point in line.points]
    metric = meaning(key)
    return Chart(
        title=title,
        unit=metric.unit or metric.title.lower(),
        lines=lines,
        log=since < 0 and needs_log(values + ends),
        horizontal="epoch",
        span=Range(min(epochs), max(epochs)) if epochs else None,
        band_name=_BAND,
    )


def _line(result: OptimizerResult, names: Sequence[str], key: str, since: float) -> Line:
    """The mean over the seeds that did not diverge, at the epochs that all of them have; every seed behind it."""
    runs = [run for run in result.choice.runs if key in run.curves]
    curves = [_later(run.curves[key], since) for run in runs]
    whole = [curve for run, curve in zip(runs, curves, strict=True) if not run.has_diverged]
    points, band = mean_curve(whole)
    ghosts = [_points(curve) for curve in curves[:_MOST_GHOSTS]] if len(curves) > 1 else []
    if not points and curves:
        points, ghosts = _points(curves[0]), ghosts[1:]
    return Line(result.optimizer, points, band, ghosts=ghosts, colour=names.index(result.optimizer))


def _later(curve: Curve, since: float) -> Curve:
    kept = [place for place, epoch in enumerate(curve.epochs) if epoch >= since]
    return Curve(tuple(curve.epochs[place] for place in kept), tuple(curve.values[place] for place in kept))


def _points(curve: Curve) -> list[At]:
    every = max(1, math.ceil(len(curve.values) / _MOST_POINTS))
    pairs = list(zip(curve.epochs, curve.values, strict=True))
    kept = pairs[::every] + ([pairs[-1]] if pairs and (len(pairs) - 1) % every else [])
    return [At(epoch, value) for epoch, value in kept]


def mean_curve(curves: Sequence[Curve]) -> tuple[list[At], list[Span]]:
    """The mean, and one standard deviation (n - 1) around it, at the epochs that all curves have."""
    if not curves:
        return [], []
    columns = [dict(zip(curve.epochs, curve.values, strict=True)) for curve in curves]
    shared = [epoch for epoch in columns[0] if all(epoch in column for column in columns)]
    every = max(1, math.ceil(len(shared) / _MOST_POINTS))
    points: list[At] = []
    band: list[Span] = []
    for epoch in dict.fromkeys([*shared[::every], *shared[-1:]]):
        values = [column[epoch] for column in columns]
        mean = fmean(values)
        points.append(At(epoch, mean))
        if len(values) > 1:
            around = stdev(values)
            band.append(Span(epoch, mean - around, mean + around))
    return points, band


def sensitivity_chart(problem: ProblemResult, names: Sequence[str]) -> Chart | None:
    """The reported metric by the hyperparameter, a line an optimizer; None where nothing was varied."""
    found = [(one.optimizer, one.sensitivity) for one in problem.results if one.sensitivity is not None]
    if not found:
        return None
    lines = [_sensitivity_line(name, names, one, problem.measure.lower_is_better) for name, one in found]
    values = [point.value for line in lines for point in line.points if math.isfinite(point.value)]
    steps = [point.step for line in lines for point in line.points]
    if not values:
        return None
    return Chart(
        title=f"{problem.measure.reported} by {found[0][1].hyperparameter}",
        unit=meaning(problem.measure.reported).unit or meaning(problem.measure.reported).title.lower(),
        lines=lines,
        log=needs_log(values),
        horizontal=found[0][1].hyperparameter,
        span=Range(min(steps), max(steps)),
        log_across=True,
        band_name="lowest to highest seed",
    )


def _sensitivity_line(name: str, names: Sequence[str], found: Sensitivity, lower_is_better: bool) -> Line:
    """A cross where a run diverged, or the model is no better than untrained."""
    points: list[At] = []
    band: list[Span] = []
    for value, reported, _ in found.points:
        learned = reported.mean < found.untrained if lower_is_better else reported.mean > found.untrained
        drawn = not reported.num_diverged and (learned or math.isnan(found.untrained))
        points.append(At(value, reported.mean if drawn else math.nan))
        if drawn and reported.high > reported.low:
            band.append(Span(value, reported.low, reported.high))
    bars = [[At(span.step, span.low), At(span.step, span.high)] for span in band]
    return Line(name, points, dotted=True, ghosts=bars, colour=names.index(name))
