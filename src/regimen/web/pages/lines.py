"""A run as one line of a list: on the start screen, among all runs, in the queue."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from regimen.listing import shown_metric
from regimen.readable import duration, number
from regimen.records.index import RunRow
from regimen.records.writer import Status
from regimen.report.glossary import meaning

LIVE: frozenset[Status] = frozenset({"queued", "running"})
"""What may change while somebody looks."""


@dataclass(frozen=True)
class Line:
    """What a list shows of a run, in words."""

    id: str
    short: str
    """The end of the id: its beginning is the time."""
    name: str
    about: str
    """The settings that differ from the defaults, as the run's folder says them."""
    task: str
    strategy: str
    seed: int
    status: Status
    message: str
    step: int
    fraction: float | None
    metric: str
    metric_title: str
    result: str
    started_at: float | None
    took: str
    tags: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        return self.status in LIVE


def line(row: RunRow, metric: str | None = None, tags: Iterable[str] = ()) -> Line:
    """What a list shows of a run; `metric` is the one to show, else its own most telling one."""
    pair = shown_metric(row, metric)
    return Line(
        id=row.id,
        short=row.id[-6:],
        name=f"{row.task} · {row.strategy}",
        about=_about(row),
        task=row.task,
        strategy=row.strategy,
        seed=row.seed,
        status=row.status,
        message=row.message.splitlines()[0] if row.message else "",
        step=row.step,
        fraction=row.fraction if row.status != "completed" else 1.0,
        metric=pair[0] if pair else "",
        metric_title=meaning(pair[0]).title if pair else "",
        result=number(pair[1]) if pair else "",
        started_at=row.started_at,
        took=_took(row),
        tags=tuple(tags),
    )


def _about(row: RunRow) -> str:
    """A folder is named for what differs: `optimizer.lr__1e-03__steps__60`."""
    parts = row.folder.parent.name.split("__")
    pairs = [f"{name} {value}" for name, value in zip(parts[::2], parts[1::2], strict=False)]
    return ", ".join([*pairs, f"seed {row.seed}"])


def _took(row: RunRow) -> str:
    if row.started_at is None or row.status == "queued":
        return ""
    end = time.time() if row.status == "running" else row.ended_at
    return duration(max(0.0, end - row.started_at)) if end is not None else ""
