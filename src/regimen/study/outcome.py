"""What a record says about a trial: status, the metric by epoch, cost."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Literal

from regimen.errors import Problem, SpecError, did_you_mean
from regimen.records.reader import Point, Record
from regimen.study.trial import Reached


def reached(record: Record, metric: str, budget: float | None) -> tuple[Reached, ...]:
    """The metric after each evaluation, by epoch. `budget` is the run's, in epochs if that is its unit.

    Raises `SpecError` where a completed run did not record the metric.
    """
    points = record.curves.get(metric, [])
    if not points and record.status == "completed":
        known = [name for name in record.curves if name.startswith("valid/")]
        text = f"is {metric!r}, which {record.name} does not record."
        raise SpecError(Problem("tune.metric", text, did_you_mean(metric, known)))
    marks = _marks(record, budget)
    return tuple(Reached(_epoch(point.step, marks), point.value) for point in points)


def epochs_of(record: Record, budget: float | None) -> float | None:
    """How many epochs a run has trained; None where it did not record them."""
    if "epochs" in record.state:
        return float(record.state["epochs"])
    if record.status == "completed" and budget is not None:
        return budget
    marks, step = _marks(record, budget), int(record.state.get("step", 0))
    return _epoch(step, marks) if len(marks) > 1 or step == 0 else None


def judged(curve: Sequence[Reached], at: Literal["final", "best"], mode: Literal["min", "max"]) -> float | None:
    """The number of a completed run: its last, or its best after training began. None if that is not finite."""
    if not curve:
        return None
    if at == "final":
        value = curve[-1].value
    else:
        values = [value for _, value in curve[1:] or curve if math.isfinite(value)]
        value = (min if mode == "min" else max)(values, default=math.nan)
    return value if math.isfinite(value) else None


def _marks(record: Record, budget: float | None) -> list[Point]:
    """Steps whose epoch is known: the first, those recorded, and the end of a run that spent its budget."""
    marks = [Point(0, 0.0), *record.curves.get("train/epoch", [])]
    if len(marks) == 1 and record.status == "completed" and budget is not None and record.state.get("step"):
        marks.append(Point(int(record.state["step"]), budget))
    return marks


def _epoch(step: int, marks: Sequence[Point]) -> float:
    """Between and beyond the marks along straight lines; the step itself where only the first is known."""
    if len(marks) < 2:
        return float(step)
    right = min(max(1, bisect.bisect_left([mark.step for mark in marks], step)), len(marks) - 1)
    (before, low), (after, high) = marks[right - 1], marks[right]
    if after == before:
        return high
    return round(low + (high - low) * (step - before) / (after - before), 6)
