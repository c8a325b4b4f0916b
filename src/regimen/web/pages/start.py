"""The first screen: what this machine has, what runs, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import Response

from regimen.records.index import RunRow
from regimen.records.reader import Record
from regimen.web.api.wiring import TheParts
from regimen.web.pages.layout import has_route, page, screens
from regimen.web.pages.lines import LIVE, line
from regimen.web.services import queueing, runs
from regimen.web.services.hardware import hardware
from regimen.web.services.outcomes import explain

router = screens()

_RECENT = 8


class Step(NamedTuple):
    """Something worth doing now."""

    title: str
    text: str
    link: str = ""
    button: str = ""


@router.get("/")
def start(request: Request, parts: TheParts) -> Response:
    """Recent runs, and what they ask for."""
    rows = runs.listed(parts).rows
    return page(
        request,
        "start.html",
        title="Start",
        hardware=hardware(parts),
        lines=[line(row) for row in rows[:_RECENT]],
        counts=Counter(row.status for row in rows),
        num_runs=len(rows),
        steps=list(_next_steps(rows, queueing.view(parts).paused, has_route(request, "/new"))),
        is_live=any(row.status in LIVE for row in rows),
    )


def _next_steps(rows: list[RunRow], is_paused: bool, can_make_runs: bool) -> Iterator[Step]:
    if is_paused:
        yield Step("The queue is paused", "What waits is not started until it goes on.", "/queue", "To the queue")
    if not rows:
        yield _first_run(can_make_runs)
        return
    newest = rows[0]
    if newest.status not in (*LIVE, "completed"):
        outcome = explain(Record(newest.folder))
        said = outcome.sentence.splitlines()[0]
        yield Step(f"{newest.task} · {newest.strategy}: {said}", outcome.next_step, f"/runs/{newest.id}", "Look at it")
    running = [row for row in rows if row.status == "running"]
    if running:
        text = "It is followed live, and goes on when you close this page."
        yield Step(f"{len(running)} being trained", text, f"/runs/{running[0].id}", "Watch it")
    completed = [row for row in rows if row.status == "completed"]
    pair = _comparable(completed)
    if pair:
        text = f"The newest two completed runs of {pair[0].task}: what differs, and what came of it."
        yield Step("Compare", text, f"/compare?runs={pair[0].id},{pair[1].id}", "Compare them")
    elif completed and can_make_runs:
        text = "One result says little. Change one thing and see whether it was that."
        yield Step("Try a variant", text, f"/new?from={completed[0].id}", "Clone and edit")


def _first_run(can_make_runs: bool) -> Step:
    text = "Choose a recipe, or upload a JSONL file: it is checked row by row before anything is spent."
    if can_make_runs:
        return Step("Train something", text, "/new", "New run")
    return Step("Train something", "On the command line: regimen run RUN.yaml")


def _comparable(completed: list[RunRow]) -> tuple[RunRow, RunRow] | None:
    """The two newest completed runs of one task that did not compute the same."""
    newest: dict[str, RunRow] = {}
    for row in completed:
        known = newest.setdefault(row.task, row)
        if known.content != row.content:
            return row, known
    return None
