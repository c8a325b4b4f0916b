"""The screen of several runs beside one another: their curves in one picture, and only what differs between them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from regimen.records.index import RunRow
from regimen.records.reader import Record
from regimen.report.glossary import meaning
from regimen.web.api.wiring import TheParts
from regimen.web.pages.layout import back, page, screens
from regimen.web.pages.lines import LIVE, line
from regimen.web.pages.run import Drawn
from regimen.web.pages.wording import flat
from regimen.web.refusal import Refusal, not_found
from regimen.web.services import runs
from regimen.web.services.charts import importance
from regimen.web.services.parts import Parts

router = screens()

MOST_RUNS = 40
_DRAWN_AT_FIRST = 4
_UNTOLD = ("output", "schema_version")


class Comparison(NamedTuple):
    """A line of the table: one thing, as each run has it. None where a run does not have it."""

    name: str
    values: list[object]
    differs: bool
    best: frozenset[int] = frozenset()
    """Places of the runs for which a metric is best."""


class Group(NamedTuple):
    title: str
    lines: list[Comparison]


@router.get("/compare")
def compare(
    request: Request,
    parts: TheParts,
    drawn: Annotated[Drawn, Depends()],
    asked: Annotated[list[str], Query(alias="runs")] = [],  # noqa: B006 - FastAPI copies it
    keys: Annotated[list[str], Query()] = [],  # noqa: B006
    show: Literal["differences", "all"] = "differences",
    q: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """The runs that the address names, with commas; a form that sends them one by one is redirected."""
    ids = list(dict.fromkeys(run_id for text in asked for run_id in text.split(",") if run_id))
    if len(asked) > 1 and ids:
        return back(f"/compare?{urlencode({'runs': ','.join(ids)}, safe=',')}")
    rows = _rows(parts, ids)
    metrics = sorted({key for row in rows for key in row.metrics}, key=importance)
    chosen = [key for key in metrics if key in keys] or _first(rows, metrics)
    groups = _groups(rows, metrics, show == "all", q.lower()) if rows else []
    return page(
        request,
        "compare.html",
        draws=True,
        title="Compare",
        lines=[line(row) for row in rows],
        ids=",".join(row.id for row in rows),
        without=[_address([other.id for other in rows if other is not row]) for row in rows],
        metrics=metrics,
        chosen=chosen,
        groups=groups,
        drawn=drawn,
        show=show,
        q=q,
        is_live=any(row.status in LIVE for row in rows),
    )


def _address(ids: Sequence[str]) -> str:
    return f"/compare?runs={','.join(ids)}"


def _rows(parts: Parts, ids: list[str]) -> list[RunRow]:
    if len(ids) > MOST_RUNS:
        raise Refusal(422, "runs", f"are {len(ids)}.", f"Compare {MOST_RUNS} at most.")
    known = {row.id: row for row in runs.listed(parts).rows} if ids else {}
    for run_id in ids:
        if run_id not in known:
            raise not_found("run", run_id, "It may have been deleted. Choose others among all runs.")
    return [known[run_id] for run_id in ids]


def _first(rows: list[RunRow], metrics: list[str]) -> list[str]:
    """What is drawn before anybody chooses: the most telling numbers that most of the runs have."""
    told = [key for key in metrics if meaning(key).better != "neither"]
    shared = [key for key in told if 2 * sum(key in row.metrics for row in rows) >= len(rows)]
    return (shared or told or metrics)[:_DRAWN_AT_FIRST]


# ------------------------------------------------------------------------------------------------ the table


def _groups(rows: list[RunRow], metrics: list[str], is_all: bool, sought: str) -> list[Group]:
    records = [Record(row.folder) for row in rows]
    found = [
        Group("Results", [_metric(key, rows) for key in metrics]),
        Group("Settings", list(_compared([_settings(record) for record in records]))),
        Group("Data and code", list(_compared([_sources(record) for record in records]))),
        Group("Environment", list(_compared([_environment(record) for record in records]))),
    ]
    kept = [
        Group(title, [one for one in lines if (is_all or one.differs) and sought in one.name.lower()])
        for title, lines in found
    ]
    return [group for group in kept if group.lines]


def _metric(key: str, rows: list[RunRow]) -> Comparison:
    values = [row.metrics.get(key) for row in rows]
    finite = [value for value in values if value is not None and math.isfinite(value)]
    better = meaning(key).better
    best: frozenset[int] = frozenset()
    if better != "neither" and len(set(finite)) > 1:
        target = min(finite) if better == "lower" else max(finite)
        best = frozenset(place for place, value in enumerate(values) if value == target)
    return Comparison(key, list(values), _differ(values), best)


def _compared(columns: list[dict[str, object]]) -> Iterator[Comparison]:
    for name in dict.fromkeys(name for column in columns for name in column):
        values = [column.get(name, _ABSENT) for column in columns]
        yield Comparison(name, [None if value is _ABSENT else value for value in values], _differ(values))


_ABSENT = object()


def _differ(values: Sequence[object]) -> bool:
    return len({value if value is _ABSENT else json.dumps(value, sort_keys=True, default=str) for value in values}) > 1


def _settings(record: Record) -> dict[str, object]:
    return {path: _said(value) for path, value in flat(record.settings) if path not in _UNTOLD}


def _sources(record: Record) -> dict[str, object]:
    return {name: str(record.spec.get(name) or "–")[:12] for name in ("content", "data", "code")}


def _environment(record: Record) -> dict[str, object]:
    told: Mapping[str, Any] = {
        key: value for key, value in record.environment.items() if key not in ("command", "schema_version")
    }
    return {path: _said(value) for path, value in flat(told)}


def _said(value: object) -> object:
    """A setting that is unset is told from one that is not there."""
    return "null" if value is None else value
