"""The list of runs: filtered, sorted, found by a part of the id, and shown as a table or as JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from regimen.errors import Problem, RecordError, SpecError, did_you_mean
from regimen.events import SCHEMA_VERSION
from regimen.readable import ago, number
from regimen.records.index import RunRow, Unreadable, indexed
from regimen.records.writer import Status

if TYPE_CHECKING:
    from rich.table import Table

SortKey = Literal["when", "status", "task", "strategy", "seed", "step", "metric"]
_PREFERRED = ("valid/loss", "test/loss", "train/loss")
_MOST_NAMED = 8
"""Candidates that an error names."""


class Listing(NamedTuple):
    rows: list[RunRow]
    unreadable: list[Unreadable]
    metric: str | None
    """The metric that was asked for; None shows each run's own (see `shown_metric`)."""


def list_runs(
    root: Path,
    *,
    status: str | None = None,
    task: str | None = None,
    strategy: str | None = None,
    metric: str | None = None,
    sort: SortKey = "when",
    reverse: bool = False,
) -> Listing:
    """The runs below `root`, newest first unless sorted otherwise; an absent `root` holds none.

    Numbers sort upwards, runs without the number last. Raises `SpecError` for an unknown status, sort key or metric.
    """
    _known("--status", status, get_args(Status))
    _known("--sort", sort, get_args(SortKey))
    everything = indexed(root) if root.is_dir() else None
    if everything is None:
        return Listing([], [], metric)
    rows = [
        row
        for row in everything.rows
        if status in (None, row.status) and task in (None, row.task) and strategy in (None, row.strategy)
    ]
    if metric is not None and rows and not any(metric in row.metrics for row in rows):
        _known("--metric", metric, sorted({key for row in rows for key in row.metrics}))
    return Listing(_sorted(rows, sort, metric, reverse), everything.unreadable, metric)


def shown_metric(row: RunRow, metric: str | None = None) -> tuple[str, float] | None:
    """The number that stands for a run: the asked one, else that of its best checkpoint, else its loss."""
    if metric is not None:
        return (metric, row.metrics[metric]) if metric in row.metrics else None
    names = [row.best] if row.best else []
    for name in (*names, *_PREFERRED, *sorted(row.metrics)):
        if name in row.metrics:
            return name, row.metrics[name]
    return None


def resolve(root: Path, text: str) -> Path:
    """The folder of the run that `text` means: a folder, an id, or the beginning or end of one id or folder name.

    Raises `RecordError` if it means none, or several, which it then names.
    """
    for given in (Path(text), root / text):
        if (given / "spec.yaml").is_file():
            return given
    rows = _sorted(indexed(root).rows, "when", None, False) if root.is_dir() else []
    sought = text.upper()
    exact = [row for row in rows if sought == row.id.upper()]
    found = exact or [row for row in rows if sought and _means(sought, row)]
    if len(found) == 1:
        return found[0].folder
    if not found:
        what = f"no run below {root} has this folder, or an id that begins or ends so."
        raise RecordError(Problem(text, what, f"`regimen list` shows the {len(rows)} that are there."))
    names = ", ".join(f"{row.id} in {row.folder}" for row in found[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    raise RecordError(Problem(text, f"means {len(found)} runs: {names}{more}.", "Give more of the id."))


def to_json(listing: Listing) -> str:
    """All of it as one JSON object; numbers that JSON lacks are null, times are seconds since 1970, UTC."""
    runs = [
        {**row.__dict__, "folder": str(row.folder), "metrics": {k: _finite(v) for k, v in row.metrics.items()}}
        for row in listing.rows
    ]
    unreadable = [{"folder": str(bad.folder), "why": bad.why} for bad in listing.unreadable]
    body = {"schema_version": SCHEMA_VERSION, "runs": runs, "unreadable": unreadable}
    return json.dumps(body, indent=1, ensure_ascii=False)


def warning(listing: Listing) -> str | None:
    """One line about the folders that could not be read; None if all could."""
    bad = listing.unreadable
    if not bad:
        return None
    more = f" (and {len(bad) - 1} more folders cannot be read)" if len(bad) > 1 else ""
    return f"warning: {bad[0].folder} {bad[0].why}{more}"


_COLUMNS = ("run", "task", "strategy", "seed", "status", "step", "done", "metric", "value", "started")
_NUMBERS = frozenset({"seed", "step", "done", "value"})


def plain(listing: Listing, now: float | None = None) -> str:
    """As aligned text, a line a run: for files and pipes, and fast for thousands.

    Ids are cut to the end that tells them apart, and `resolve` takes them so.
    """
    rows = [_COLUMNS, *_cells(listing, time.time() if now is None else now)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_COLUMNS))]
    aligned = [
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for cell, width, name in zip(row, widths, _COLUMNS, strict=True)
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in aligned)


def table(listing: Listing, now: float | None = None) -> Table:
    """The same for a terminal, with colours; rich takes about 0.6 ms a row to draw it."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        folds = name in ("run", "task", "strategy")
        shown.add_column(
            name,
            justify="right" if name in _NUMBERS else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
        )
    for row, cells in zip(listing.rows, _cells(listing, time.time() if now is None else now), strict=True):
        styled = [
            (cell, _STYLES[row.status] if name == "status" else "") for cell, name in zip(cells, _COLUMNS, strict=True)
        ]
        shown.add_row(*(Text(cell, style=style) for cell, style in styled))
    return shown


def _cells(listing: Listing, now: float) -> list[tuple[str, ...]]:
    """What each row shows, in the order of the columns."""
    short = _short_ids(listing.rows)
    found: list[tuple[str, ...]] = []
    for row in listing.rows:
        pair = shown_metric(row, listing.metric)
        done = "" if row.fraction is None else f"{100 * row.fraction:.0f}%"
        value = (pair[0], number(pair[1])) if pair else ("", "")
        when = "" if row.started_at is None else ago(row.started_at, now)
        what = (short[row.id], row.task, row.strategy, str(row.seed), row.status)
        found.append((*what, f"{row.step:,}", done, *value, when))
    return found


_STYLES: dict[Status, str] = {
    "queued": "dim",
    "running": "cyan",
    "completed": "green",
    "stopped": "yellow",
    "diverged": "red",
    "refused": "red",
    "failed": "red",
    "lost": "magenta",
}


def _short_ids(rows: Sequence[RunRow], shortest: int = 6) -> dict[str, str]:
    """The end of each id, as long as it takes to tell them all apart: its beginning is the time."""
    for length in range(shortest, 26):
        ends = {row.id[-length:] for row in rows}
        if len(ends) == len(rows):
            return {row.id: row.id[-length:] for row in rows}
    return {row.id: row.id for row in rows}


def _means(sought: str, row: RunRow) -> bool:
    names = (row.id.upper(), row.folder.name.upper())
    return any(name.startswith(sought) or name.endswith(sought) for name in names)


def _sorted(rows: list[RunRow], sort: SortKey, metric: str | None, reverse: bool) -> list[RunRow]:
    newest_first = sorted(rows, key=lambda row: row.id, reverse=True)
    if sort == "when":
        return newest_first[::-1] if reverse else newest_first
    if sort == "metric":
        values = {row.id: pair[1] for row in rows if (pair := shown_metric(row, metric)) and math.isfinite(pair[1])}
        having = sorted((r for r in newest_first if r.id in values), key=lambda r: values[r.id], reverse=reverse)
        return having + [row for row in newest_first if row.id not in values]
    key: Callable[[RunRow], Any] = lambda row: getattr(row, sort)  # noqa: E731
    return sorted(newest_first, key=key, reverse=reverse)


def _known(option: str, value: str | None, names: Sequence[str]) -> None:
    if value is not None and value not in names:
        raise SpecError(Problem(option, f"{value!r} is not known.", did_you_mean(value, names)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
