"""Which charts a record's curves make, in the order in which a reader asks for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from regimen.records.reader import Point, Record
from regimen.report.chart import Chart, Line, svg
from regimen.report.glossary import IMPORTANCE, meaning
from regimen.report.markup import EMPTY, Markup, join, tag
from regimen.report.series import decimated, needs_log, smoothed
from regimen.report.ticks import Range

_SPLITS = ("train", "train_eval", "valid", "test")
_NAMES = {"train": "training", "train_eval": "training rows", "valid": "held-out"}
_LAST = ("train/lr", "train/grad_norm", "time/tokens_per_s")
_NO_CURVE = frozenset({"train/epoch", "time/elapsed_s", "time/fraction", "time/tokens", "time/peak_memory_mb"})
_FROM_ZERO = frozenset({"train/lr", "time/tokens_per_s"})
_MOST_CHARTS = 12
_RETRAIN = "retrain_"
"""Before the keys of a found network's own training, which is a stage of its own in a run."""
_STAGES = {"search/": "of the networks that the search judged", _RETRAIN: "of the found network, trained alone"}
_ELSEWHERE = ("ranking/",)
"""One number a network in no order: its own page has them."""


def charts(record: Record) -> list[Chart]:
    """Loss first, then what else was measured, then learning rate, gradient and speed; one metric a chart."""
    curves = {key: points for key, points in record.curves.items() if _is_drawn(key)}
    if not any(value for _, value in curves.get("time/tokens_per_s", ())):
        curves.pop("time/tokens_per_s", None)  # a task without tokens
    names = dict.fromkeys(_without_split(key) for key in curves if key not in _LAST)
    ordered = sorted(names, key=lambda name: _rank(name, measured=f"valid/{name}" in curves))
    groups = [[key for key in curves if key not in _LAST and _without_split(key) == name] for name in ordered]
    groups = [group for group in groups if any(len(curves[key]) > 1 for key in group)]
    groups += [[key] for key in _LAST if len(curves.get(key, ())) > 1]
    steps = [point.step for points in curves.values() for point in points]
    span = Range(min(0, *steps), max(1, *steps)) if steps else None
    return [_chart(group, curves, _own_span(group, curves) or span, record.resumes) for group in groups]


def drawn(record: Record) -> Markup:
    """All charts side by side; those beyond the first dozen are named only."""
    all_charts = charts(record)
    shown = join(svg(chart) for chart in all_charts[:_MOST_CHARTS])
    if not shown:
        return EMPTY
    rest = ", ".join(chart.title for chart in all_charts[_MOST_CHARTS:])
    more = tag("p", f"Recorded, too (events.jsonl): {rest}.", class_="hint") if rest else EMPTY
    dashes = (
        tag("p", "A dashed vertical line is where the run was resumed.", class_="hint") if record.resumes else EMPTY
    )
    return join([tag("div", shown, class_="charts"), dashes, more])


def _is_drawn(key: str) -> bool:
    first = key.removeprefix(_RETRAIN)
    return first not in _NO_CURVE and not key.startswith(_ELSEWHERE) and (first == key or first not in _LAST)


def _stage(key: str) -> str:
    """The beginning of the keys of a stage with charts of its own; empty for the others."""
    return next((start for start in _STAGES if key.startswith(start)), "")


def _own_span(keys: Sequence[str], curves: dict[str, list[Point]]) -> Range | None:
    steps = [point.step for key in keys for point in curves[key]]
    return Range(min(steps), max(steps)) if _stage(keys[0]) and max(steps) > min(steps) else None


def _rank(name: str, *, measured: bool) -> tuple[int, int, bool, str]:
    stage, metric = _stage(name), name.removeprefix(_RETRAIN)
    importance = IMPORTANCE.index(metric) if metric in IMPORTANCE else len(IMPORTANCE)
    return (["", *_STAGES].index(stage), importance, not measured, name)


def _without_split(key: str) -> str:
    """What a chart is of: the metric, after its stage."""
    stage = _stage(key)
    if stage and stage != _RETRAIN:
        return stage
    split, _, name = key.removeprefix(stage).partition("/")
    return stage + name if split in _SPLITS else key


def _chart(keys: Sequence[str], curves: dict[str, list[Point]], span: Range | None, resumes: Sequence[int]) -> Chart:
    keys = sorted(keys, key=lambda key: (not key.removeprefix(_RETRAIN).startswith("train/"), key))
    metric = meaning(keys[0])
    lines = [_drawn_line(key, curves[key], alone=len(keys) == 1) for key in keys]
    ends = [end for line in lines for span in line.band for end in (span.low, span.high)]
    values = ends + [point.value for line in lines for point in line.points]
    finite = [value for value in values if math.isfinite(value)]
    return Chart(
        title=metric.title,
        unit=", ".join(part for part in (metric.unit, _STAGES.get(_stage(keys[0]), "")) if part),
        lines=lines,
        log=keys[0] not in _FROM_ZERO and needs_log(finite),
        from_zero=keys[0] in _FROM_ZERO,
        span=span,
        resumes=resumes,
    )


def _drawn_line(key: str, points: Sequence[Point], *, alone: bool) -> Line:
    split = key.removeprefix(_RETRAIN).partition("/")[0]
    name = meaning(key).title.lower() if alone or split not in _SPLITS else _NAMES.get(split, split)
    if split not in ("train", "time") or key == "train/lr":
        return Line(name, decimated(points), dotted=split in ("train_eval", "valid", "test"))
    calm = smoothed(points)
    return Line(f"{name}, smoothed" if calm.band else name, calm.line, calm.band)
