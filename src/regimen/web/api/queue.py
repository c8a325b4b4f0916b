"""Routes of the queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from regimen.queue.store import Row
from regimen.records.reader import Record
from regimen.web.api.wiring import TheParts, refusals
from regimen.web.services import queueing

router = APIRouter(prefix="/queue", tags=["queue"])


class QueueEntry(BaseModel):
    """A run of the queue."""

    id: str
    name: str = Field(description="task, strategy and seed")
    device: str = Field(description="what it needs to itself")
    attempts: int = Field(description="processes that were started for it since it last saved")
    stop_asked_at: float | None = Field(description="seconds since 1970, UTC")


class Queued(BaseModel):
    """The queue as it is now."""

    paused: bool = Field(description="nothing new is started")
    goes_on_after_failure: bool = Field(description="else it pauses itself")
    slots: int = Field(description="runs at once on one device")
    running: list[QueueEntry]
    waiting: list[QueueEntry] = Field(description="the first one is next")


class Move(BaseModel):
    model_config = ConfigDict(extra="forbid")
    run_id: str
    place: Annotated[int, Field(ge=0, le=2**31, description="0 is next")]


class GoesOn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    value: bool


@router.get("", response_model=Queued, responses=refusals(422))
def get(parts: TheParts) -> Queued:
    """What waits, in order, and what is being trained."""
    return _body(queueing.view(parts))


@router.post("/pause", response_model=Queued, responses=refusals(422))
def pause(parts: TheParts) -> Queued:
    """Starts nothing new; what is being trained goes on."""
    return _body(queueing.pause(parts, True))


@router.post("/resume", response_model=Queued, responses=refusals(422))
def resume(parts: TheParts) -> Queued:
    """Starts what is next again."""
    return _body(queueing.pause(parts, False))


@router.put("/goes_on_after_failure", response_model=Queued, responses=refusals(422))
def goes_on_after_failure(parts: TheParts, body: GoesOn) -> Queued:
    """Whether the next run starts after one that failed."""
    return _body(queueing.go_on_after_failure(parts, body.value))


@router.post("/move", response_model=Queued, responses=refusals(404, 409, 422))
def move(parts: TheParts, body: Move) -> Queued:
    """Makes a waiting run the one at a place."""
    return _body(queueing.move(parts, body.run_id, body.place))


def _body(view: queueing.QueueView) -> Queued:
    return Queued(
        paused=view.paused,
        goes_on_after_failure=view.goes_on_after_failure,
        slots=view.slots,
        running=[entry(row) for row in view.running],
        waiting=[entry(row) for row in view.waiting],
    )


def entry(row: Row) -> QueueEntry:
    """A row with the name of its run, where its folder can still be read."""
    name = Record(row.folder).name if (row.folder / "spec.yaml").is_file() else row.id
    return QueueEntry(id=row.id, name=name, device=row.device, attempts=row.attempts, stop_asked_at=row.stop_asked_at)
