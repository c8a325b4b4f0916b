"""The queue as people see and change it: what waits in which order, what is being trained, and whether it goes on."""

from __future__ import annotations

from typing import NamedTuple

from regimen.queue.store import Row
from regimen.web.refusal import Refusal, not_found
from regimen.web.services.parts import Parts


class QueueView(NamedTuple):
    """The queue as it stands: what runs, what waits, in their order."""

    paused: bool
    goes_on_after_failure: bool
    slots: int
    """Runs at once on one device."""
    running: list[Row]
    waiting: list[Row]
    """The first one is next."""


def view(parts: Parts) -> QueueView:
    """As it is now."""
    queue = parts.queue
    return QueueView(
        queue.paused, queue.goes_on_after_failure, slots(parts), queue.rows("running"), queue.rows("queued")
    )


def slots(parts: Parts) -> int:
    """How many runs are trained at once on one device: what the newest keeper of this queue was told."""
    return int(parts.queue.get("slots") or 1)


def pause(parts: Parts, paused: bool) -> QueueView:
    """Whether nothing new is started; what is being trained goes on."""
    parts.queue.paused = paused
    return view(parts)


def go_on_after_failure(parts: Parts, goes_on: bool) -> QueueView:
    """Whether the next run starts after one that failed; else the queue pauses itself."""
    parts.queue.goes_on_after_failure = goes_on
    return view(parts)


def move(parts: Parts, run_id: str, place: int) -> QueueView:
    """Makes a waiting run the one at `place`, 0 being next. Raises `Refusal` 404, or 409 for one that does not wait."""
    row = parts.queue.row(run_id)
    if row is None:
        raise not_found("run in the queue", run_id)
    if not parts.queue.move(run_id, place):
        raise Refusal(409, run_id, f"does not wait: it is {row.state}.")
    return view(parts)


def place_of(parts: Parts, run_id: str) -> int | None:
    """How many wait before it; None if it does not wait."""
    waiting = [row.id for row in parts.queue.rows("queued")]
    return waiting.index(run_id) if run_id in waiting else None
