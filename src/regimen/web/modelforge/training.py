"""Routes that start a training, tell where it stands, and stop it: the documented ones, and those of its own page."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from regimen.errors import DataError, Refused, SpecError
from regimen.web.api.wiring import TheParts
from regimen.web.modelforge.names import TrainingAsked, in_flat_names, settings_of
from regimen.web.modelforge.session import Session, TheSession
from regimen.web.modelforge.status import IDLE, TrainingStatus, job_of, status_of
from regimen.web.modelforge.wire import Answer, ModelForgeRoute, refusals
from regimen.web.refusal import Refusal
from regimen.web.services import runs
from regimen.web.services.parts import Parts

router = APIRouter(route_class=ModelForgeRoute)

JobId = Annotated[str | None, Query(max_length=64, description="unset: the training that was started last")]


class Started(Answer):
    """A training that was accepted."""

    success: Literal[True] = True
    status: Literal["queued"] = "queued"
    job_id: str = Field(description="the run's id, everywhere in this server")
    message: str


class Stopping(Answer):
    """A training that was asked to stop."""

    success: Literal[True] = True
    status: str = Field(description="stopping, until it has saved; or stopped")
    job_id: str
    message: str


class Done(Answer):
    success: Literal[True] = True
    message: str


@router.post("/start_training", tags=["modelforge"], response_model=Started, responses=refusals(409, 424))
def start_training(parts: TheParts, session: TheSession, body: TrainingAsked) -> Started:
    """Starts a training, or puts it behind those that wait."""
    return _start(parts, session, body)


@router.get("/training_status", tags=["modelforge"], response_model=TrainingStatus, responses=refusals(404))
def training_status(parts: TheParts, session: TheSession, job_id: JobId = None) -> TrainingStatus:
    """Where a training stands."""
    return _status(parts, session, job_id)


@router.post("/stop_training", tags=["modelforge"], response_model=Stopping, responses=refusals(404, 409))
def stop_training(parts: TheParts, session: TheSession, job_id: JobId = None) -> Stopping:
    """Asks a training to save and stop; it can be resumed."""
    record = job_of(parts, session, job_id)
    if record is None:
        raise Refusal(404, "", "No training was started here.", "Give its job_id.")
    if runs.stop(parts, record.id).status == "stopped":
        return Stopping(status="stopped", job_id=record.id, message="Training was taken out of the queue.")
    return Stopping(status="stopping", job_id=record.id, message="Training saves and stops; it can be resumed.")


@router.post("/finetune/start_training", tags=["modelforge page"], response_model=Started, responses=refusals(409, 424))
def start_from_page(parts: TheParts, session: TheSession, body: TrainingAsked) -> Started:
    """Starts a training, or puts it behind those that wait."""
    return _start(parts, session, body)


@router.get("/finetune/status", tags=["modelforge page"], response_model=TrainingStatus, responses=refusals(404))
def status(parts: TheParts, session: TheSession, job_id: JobId = None) -> TrainingStatus:
    """Where a training stands."""
    return _status(parts, session, job_id)


@router.post("/finetune/reset_status", tags=["modelforge page"], response_model=Done, responses=refusals())
def reset_status(session: TheSession) -> Done:
    """Looks no longer at the training that was started last; the training itself goes on."""
    session.change(job_id=None)
    return Done(message="Status reset")


def _start(parts: Parts, session: Session, body: TrainingAsked) -> Started:
    try:
        record = runs.create(parts, settings_of(parts, body))
    except (SpecError, DataError, Refused) as error:
        raise in_flat_names(error) from error
    session.change(job_id=record.id)
    return Started(job_id=record.id, message=status_of(parts, record).message)


def _status(parts: Parts, session: Session, job_id: str | None) -> TrainingStatus:
    record = job_of(parts, session, job_id)
    return IDLE if record is None else status_of(parts, record)
