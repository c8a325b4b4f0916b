"""The screen of all runs: filtered, sorted, searched, a page at a time; everything in the address."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi import Depends, Query, Request
from fastapi.responses import Response

from regimen.listing import SortKey
from regimen.records.index import RunRow
from regimen.records.writer import Status
from regimen.web.api.wiring import TheParts
from regimen.web.pages.layout import page, screens
from regimen.web.pages.lines import LIVE, line
from regimen.web.services import runs
from regimen.web.services.charts import importance
from regimen.web.services.parts import Parts
from regimen.web.services.tags import read_tags

router = screens()

PER_PAGE = 50
_COLUMNS: tuple[tuple[str, SortKey | None, str], ...] = (
    ("Run", "task", "name"),
    ("Status", "status", ""),
    ("Progress", None, ""),
    ("Step", "step", "num extra"),
    ("Result", "metric", "num"),
    ("Took", None, "num extra"),
    ("Started", "when", "num"),
)


@dataclass(frozen=True)
class Head:
    """A column's head: sorts by it, the other way round if it is sorted so already."""

    text: str
    look: str
    link: str = ""
    sorted: str = ""
    """`ascending`, `descending`, or nothing."""


class Asked:
    """What the address asks for; knows the addresses of what is beside it."""

    def __init__(
        self,
        status: Annotated[str, Query(max_length=40)] = "",
        task: Annotated[str, Query(max_length=200)] = "",
        strategy: Annotated[str, Query(max_length=200)] = "",
        tag: Annotated[str, Query(max_length=200)] = "",
        q: Annotated[str, Query(max_length=400)] = "",
        metric: Annotated[str, Query(max_length=200)] = "",
        sort: SortKey = "when",
        reverse: bool = False,
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    ) -> None:
        self.status, self.task, self.strategy, self.tag = status, task, strategy, tag
        self.q, self.metric, self.sort, self.reverse, self.page = q, metric, sort, reverse, page

    def link(self, **other: Any) -> str:
        """The same with something else, on the first page of it."""
        wanted = {**vars(self), "page": 1, **other}
        said = {key: given for key, given in wanted.items() if given not in ("", False) and (key, given) != ("page", 1)}
        if said.get("sort") == "when":
            del said["sort"]
        if "reverse" in said:
            said["reverse"] = 1
        return f"/runs?{urlencode(said)}" if said else "/runs"

    def rows(self, parts: Parts, everything: list[RunRow]) -> list[RunRow]:
        """Those that match but for the status, which has counts of its own."""
        if not (self.q or self.tag or self.task or self.strategy):
            return everything
        found = runs.listed(
            parts,
            task=self.task or None,
            strategy=self.strategy or None,
            tag=self.tag or None,
            text=self.q or None,
        )
        known = {row.id for row in found.rows}
        return [row for row in everything if row.id in known]


@router.get("/runs")
def all_runs(request: Request, parts: TheParts, asked: Annotated[Asked, Depends()]) -> Response:
    """A page of the runs that match."""
    return page(request, "runs.html", title="Runs", **_shown(parts, asked))


def _shown(parts: Parts, asked: Asked) -> dict[str, Any]:
    """All that the template needs."""
    everything = runs.listed(parts, metric=asked.metric or None, sort=asked.sort, reverse=asked.reverse)
    tags = _tags(everything.rows)
    matching = asked.rows(parts, everything.rows)
    found = [row for row in matching if asked.status in ("", row.status)]
    first = (asked.page - 1) * PER_PAGE
    return {
        "asked": asked,
        "lines": [line(row, asked.metric or None, tags.get(row.id, ())) for row in found[first : first + PER_PAGE]],
        "first": first,
        "total": len(found),
        "everything": len(everything.rows),
        "last_page": max(1, -(-len(found) // PER_PAGE)),
        "statuses": _counts(matching),
        "num_matching": len(matching),
        "tasks": sorted({row.task for row in everything.rows}),
        "strategies": sorted({row.strategy for row in everything.rows}),
        "tags": sorted({tag for given in tags.values() for tag in given}),
        "metrics": sorted({key for row in everything.rows for key in row.metrics}, key=importance),
        "heads": [_head(asked, *column) for column in _COLUMNS],
        "unreadable": everything.unreadable,
        "is_live": any(row.status in LIVE for row in everything.rows),
    }


def _head(asked: Asked, text: str, sort: SortKey | None, look: str) -> Head:
    if sort is None:
        return Head(text, look)
    is_this = asked.sort == sort
    # Newest first is how times are looked at; all else is read upwards.
    falls = asked.reverse != (sort == "when")
    said = ("descending" if falls else "ascending") if is_this else ""
    return Head(text, look, asked.link(sort=sort, reverse=is_this and not asked.reverse), said)


def _counts(rows: list[RunRow]) -> list[tuple[Status, int]]:
    counts = Counter(row.status for row in rows)
    return [(status, counts[status]) for status in get_args(Status) if counts[status]]


def _tags(rows: list[RunRow]) -> dict[str, tuple[str, ...]]:
    found = {row.id: read_tags(row.folder).tags for row in rows}
    return {run_id: tags for run_id, tags in found.items() if tags}
