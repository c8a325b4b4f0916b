"""The curves of a run, thinned for drawing: no extreme is lost, whatever lies between two pixels.

What was read of `events.jsonl` is kept as arrays in `<home>/.regimen/curves/<id>.npz`, with the byte up to which it
was read, so that a long file is read once and then only its new end. The cache can be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from regimen.records.reader import Record
from regimen.web.refusal import Refusal
from regimen.web.services.columns import Columns, read_columns
from regimen.web.services.parts import Parts

MOST_POINTS = 1000
"""Of one series that is sent."""
Axis = Literal["step", "time", "tokens"]

_Floats = NDArray[np.float64]
_Places = NDArray[np.int64]


@dataclass(frozen=True)
class Mark:
    """A recorded number that is not finite."""

    x: float
    value: Literal["NaN", "Infinity", "-Infinity"]


@dataclass(frozen=True)
class Series:
    """One metric, thinned: recorded points only, in their order."""

    key: str
    total: int
    """Recorded points."""
    x: list[float]
    y: list[float | None]
    """None where the number is not finite; `marks` says what it is."""
    mean: list[float | None] | None
    """Of all finite points around each one; None where nothing was left out, and each point is its own mean."""
    marks: list[Mark]


@dataclass(frozen=True)
class Curves:
    """What is drawn of a run."""

    keys: list[str]
    """All that the run has recorded."""
    axes: list[Axis]
    """What `x` can be."""
    x: Axis
    series: list[Series]
    resumes: list[float]
    """Where on the axis the run went on after a stop or a kill."""
    cursor: int
    """Byte of `events.jsonl` up to which this tells; what comes later is in the events from there on."""


def curves(
    parts: Parts, record: Record, keys: Sequence[str] | None = None, points: int = MOST_POINTS, x: Axis = "step"
) -> Curves:
    """Of these metrics (all outside `time/`, if None); one that is not recorded (yet) has no points.

    `time` is in seconds of training; `tokens` are those trained on, without padding. Raises `Refusal` 422 for an axis
    that the run has not recorded.
    """
    columns = columns_of(parts, record)
    axes = _axes(columns)
    if x not in axes:
        text = f"this run has recorded no {x}."
        raise Refusal(422, "x", text, f"Ask for x={' or x='.join(axes)}.")
    names = sorted(columns.values)
    wanted = [key for key in names if not key.startswith("time/")] if keys is None else list(dict.fromkeys(keys))
    along = _along(columns, x)
    series = [_series(key, columns, along, points) for key in wanted]
    return Curves(names, axes, x, series, _resumes(columns, along, x), columns.cursor)


def columns_of(parts: Parts, record: Record) -> Columns:
    """All numbers of a run that count, from the cache and the new end of its events."""
    return read_columns(record.folder / "events.jsonl", _cache(parts, record.id))


def forget(parts: Parts, run_id: str) -> None:
    """Removes the cache of a run."""
    _cache(parts, run_id).unlink(missing_ok=True)


def _cache(parts: Parts, run_id: str) -> Path:
    return parts.home.own / "curves" / f"{Path(run_id).name}.npz"


# ------------------------------------------------------------------------------------------------ thinning


def thinned(values: _Floats, most: int) -> tuple[_Places, _Floats | None]:
    """Places of at most `most` values, with first, last, and each bucket's lowest, highest and first not finite one.

    Second, the mean of the finite values of each place's bucket; None if every place is kept. `most` is at least 8.
    """
    count = len(values)
    if count <= most:
        return np.arange(count), None
    finite = np.isfinite(values)
    kinds = 2 if finite.all() else 3
    size = -(-count // ((most - 2) // kinds))
    padded = np.full(-(-count // size) * size, np.nan)
    padded[:count] = np.where(finite, values, np.nan)
    table = padded.reshape(-1, size)
    first = np.arange(len(table)) * size
    places = [
        first + np.where(np.isnan(table), np.inf, table).argmin(axis=1),
        first + np.where(np.isnan(table), -np.inf, table).argmax(axis=1),
    ]
    if kinds == 3:
        places.append((first + np.isnan(table).argmax(axis=1))[np.isnan(table).any(axis=1)])
    # Behind the end of the last bucket there is padding, which counts as not finite.
    kept = np.unique(np.concatenate([*places, [0, count - 1]]))
    kept = kept[kept < count]
    sums, counts = np.nansum(table, axis=1), np.maximum(1, (~np.isnan(table)).sum(axis=1))
    return kept, (sums / counts)[kept // size]


def _series(key: str, columns: Columns, along: _Floats, most: int) -> Series:
    if key not in columns.values:
        return Series(key, 0, [], [], None, [])
    rows, values = columns.values[key]
    places, means = thinned(values, most)
    x, y = along[rows[places]].tolist(), values[places].tolist()
    is_finite = np.isfinite(values[places]).tolist()
    marks = [Mark(at, _word(value)) for at, value, fine in zip(x, y, is_finite, strict=True) if not fine]
    shown = [value if fine else None for value, fine in zip(y, is_finite, strict=True)]
    levels = None if means is None else [m if fine else None for m, fine in zip(means.tolist(), is_finite, strict=True)]
    return Series(key, len(values), x, shown, levels, marks)


def _word(value: float) -> Literal["NaN", "Infinity", "-Infinity"]:
    if value != value:
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


# ------------------------------------------------------------------------------------------------ axes


def _axes(columns: Columns) -> list[Axis]:
    return ["step", "time", "tokens"] if "time/tokens" in columns.values else ["step", "time"]


def _along(columns: Columns, axis: Axis) -> _Floats:
    """Where each recorded line lies on the axis."""
    if axis == "step":
        return columns.steps.astype(np.float64)
    seconds = _seconds(columns)
    if axis == "time":
        return seconds
    rows, tokens = columns.values["time/tokens"]
    # Lines of an evaluation do not say: they lie where the clock puts them.
    found: _Floats = np.interp(seconds, [0.0, *seconds[rows]], [0.0, *tokens])
    return found


def _resumes(columns: Columns, along: _Floats, axis: Axis) -> list[float]:
    """On the axis: behind what was kept."""
    if axis == "step":
        return [float(step) for _, step in columns.resumes]
    return [float(along[row - 1]) if row else 0.0 for row in columns.resumed_before]


def _seconds(columns: Columns) -> _Floats:
    """Of training. A line that does not say lies between its neighbours as the clock does."""
    if "time/elapsed_s" not in columns.values or not len(columns.at):
        return columns.at - columns.at[0] if len(columns.at) else columns.at
    rows, elapsed = columns.values["time/elapsed_s"]
    clock = columns.at[rows]
    found = np.interp(columns.at, clock, elapsed)
    before, after = columns.at < clock[0], columns.at > clock[-1]
    found[before] = np.maximum(0.0, elapsed[0] - (clock[0] - columns.at[before]))
    found[after] = elapsed[-1] + (columns.at[after] - clock[-1])
    return np.maximum.accumulate(found)
