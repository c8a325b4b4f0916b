"""Where a training stands, as ModelForge tells it: every number from recorded steps, none made up."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from regimen.records.reader import Record
from regimen.records.writer import Status
from regimen.web.api.runbodies import finite
from regimen.web.modelforge.session import Session
from regimen.web.modelforge.wire import Answer
from regimen.web.refusal import Refusal
from regimen.web.services import runs
from regimen.web.services.outcomes import explain
from regimen.web.services.parts import Parts
from regimen.web.services.queueing import place_of
from regimen.web.services.watching import Standing, standing

Number = float | None
_STATUS: dict[Status, Literal["queued", "running", "completed", "stopped", "error"]] = {
    "queued": "queued",
    "running": "running",
    "completed": "completed",
    "stopped": "stopped",
    "diverged": "error",
    "refused": "error",
    "failed": "error",
    "lost": "error",
}


class TrainingStatus(Answer):
    """Where a training stands. A number is null until it has been recorded."""

    status: Literal["idle", "queued", "running", "completed", "stopped", "error"]
    job_id: str | None = Field(description="the run's id; null where none was started")
    progress: float = Field(ge=0, le=100, description="percent of the budget, as last recorded")
    current_epoch: Number = None
    total_epochs: Number = None
    current_step: int | None = None
    total_steps: int | None = None
    loss: Number = None
    learning_rate: Number = None
    eta_seconds: Annotated[Number, Field(description="at the recorded pace")] = None
    message: str
    error: str | None = Field(description="why it failed")


IDLE = TrainingStatus(status="idle", job_id=None, progress=0.0, message="No training in progress", error=None)


def job_of(parts: Parts, session: Session, job_id: str | None) -> Record | None:
    """The run that is meant: by its id, or the one that was started last. Raises `Refusal` 404 for an unknown id."""
    if job_id is not None:
        return runs.record_of(parts, job_id)
    last = session.chosen.job_id
    try:
        return runs.record_of(parts, last) if last else None
    except Refusal:  # it was deleted
        return None


def status_of(parts: Parts, record: Record) -> TrainingStatus:
    """Of one run, read anew."""
    now = standing(parts.queue, record)
    record = Record(record.folder)
    status, numbers = _STATUS[now.status], _numbers(record, parts, now)
    fails = status == "error"
    progress = 100.0 if status == "completed" else 100.0 * (now.far.fraction or 0.0)
    return TrainingStatus(
        status=status,
        job_id=record.id,
        progress=min(100.0, max(0.0, progress)),
        **numbers,
        message=_message(parts, record, now, numbers),
        error=_told(record) if fails else None,
    )


def _numbers(record: Record, parts: Parts, now: Standing) -> dict[str, Any]:
    """What was recorded, and totals: of the budget, or as many as the recorded part of it tells."""
    said = finite(runs.row_of(parts, record.id).metrics)
    budget = record.settings.get("budget") or {}
    step, fraction, epoch = now.far.step, now.far.fraction, said.get("train/epoch")
    return {
        "current_epoch": epoch,
        "total_epochs": round(epoch / fraction, 3) if fraction and epoch else budget.get("epochs"),
        "current_step": step if fraction else None,
        "total_steps": round(step / fraction) if fraction else budget.get("steps"),
        "loss": said.get("train/loss"),
        "learning_rate": said.get("train/lr"),
        "eta_seconds": now.far.left_s if now.status == "running" else None,
    }


def _message(parts: Parts, record: Record, now: Standing, numbers: dict[str, Any]) -> str:
    if now.status == "running" and numbers["current_step"] is not None:
        epoch, epochs = numbers["current_epoch"], numbers["total_epochs"]
        place = f"epoch {epoch:g}/{epochs:g} - " if epoch is not None and epochs is not None else ""
        return f"Training {place}Step {numbers['current_step']}/{numbers['total_steps']}"
    before = place_of(parts, record.id)
    if before is not None:
        paused = " It is paused." if parts.queue.paused else ""
        return f"Waits in the queue; {before} {'is' if before == 1 else 'are'} before it.{paused}"
    return _told(record)


def _told(record: Record) -> str:
    how = explain(record)
    return f"{how.sentence} {how.next_step}"
