"""The screen of the queue: what is trained, what waits in which order, and whether it goes on."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Form, Request
from fastapi.responses import Response

from regimen.errors import RecordError
from regimen.queue.store import Row
from regimen.records.index import read_row
from regimen.web.api.wiring import TheParts
from regimen.web.pages.layout import back, page, screens
from regimen.web.pages.lines import Line, line
from regimen.web.refusal import Refusal
from regimen.web.services import queueing, runs
from regimen.web.services.hardware import devices

router = screens()


@router.get("/queue")
def shown(request: Request, parts: TheParts) -> Response:
    """The order of what waits, below what is being trained."""
    now = queueing.view(parts)
    return page(
        request,
        "queue.html",
        title="Queue",
        now=now,
        running=_lines(now.running),
        waiting=_lines(now.waiting),
        devices=devices(parts, []),
    )


@router.post("/queue/{run_id}/move")
def move(parts: TheParts, run_id: str, to: Annotated[Literal["first", "up", "down"], Form()]) -> Response:
    """Changes the order."""
    place = queueing.place_of(parts, run_id)
    if place is None:
        raise Refusal(409, run_id, "does not wait any more.", "Look at the queue again.")
    queueing.move(parts, run_id, {"first": 0, "up": max(0, place - 1), "down": place + 1}[to])
    return back("/queue")


@router.post("/queue/{run_id}/stop")
def stop(parts: TheParts, run_id: str) -> Response:
    """Takes a run out that waits, and asks one that is trained to save and stop."""
    runs.stop(parts, run_id)
    return back("/queue")


@router.post("/queue/pause")
def pause(parts: TheParts, paused: Annotated[bool, Form()]) -> Response:
    """Whether new runs are started."""
    queueing.pause(parts, paused)
    return back("/queue")


@router.post("/queue/after-failure")
def after_failure(parts: TheParts, goes_on: Annotated[bool, Form()]) -> Response:
    """Whether the next run is started after one that failed."""
    queueing.go_on_after_failure(parts, goes_on)
    return back("/queue")


def _lines(rows: list[Row]) -> list[tuple[Row, Line]]:
    """A row whose folder was deleted by hand is left out: the keeper finds that out, too."""
    found = []
    for row in rows:
        try:
            found.append((row, line(read_row(row.folder))))
        except RecordError:
            continue
    return found
