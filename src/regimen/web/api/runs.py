"""Routes of runs."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from regimen.listing import SortKey
from regimen.records.index import RunRow
from regimen.records.reader import Record
from regimen.records.writer import Status
from regimen.web.api.wiring import TheParts, refusals
from regimen.web.services import events as event_service
from regimen.web.services import runs

router = APIRouter(prefix="/runs", tags=["runs"])

Number = float | None
"""None for what JSON has no number for."""


class Settings(BaseModel):
    """What a RUN.yaml holds: `task`, `strategy`, `budget`, `seed`, ..."""

    settings: dict[str, Any] = Field(description="as in RUN.yaml", examples=[{"task": "sorting", "strategy": "sft"}])


class RunSummary(BaseModel):
    """A line of the list."""

    id: str
    task: str
    strategy: str
    seed: int
    status: Status
    step: int = Field(description="the last recorded one")
    fraction: Number = Field(description="of the budget that was spent at the last recorded line, 0 to 1")
    metrics: dict[str, Number] = Field(description="the last recorded numbers")
    started_at: Number = Field(description="seconds since 1970, UTC")
    ended_at: Number = Field(description="seconds since 1970, UTC")
    message: str = Field(description="how it ended, where it did not complete")


class RunList(BaseModel):
    total: int = Field(description="how many runs match")
    runs: list[RunSummary]
    unreadable: list[dict[str, str]] = Field(description="folders that look like runs and cannot be read")


class RunDetail(RunSummary):
    """One run."""

    name: str
    content: str = Field(description="hash of what is computed")
    settings: dict[str, Any] = Field(description="checked, with defaults")
    passed: dict[str, Any] = Field(description="as they were given")
    notes: list[str]
    resumes: list[int] = Field(description="steps from which it went on")
    artifacts: list[str]
    log_tail: list[str] = Field(description="the last lines of its log")


class Finding(BaseModel):
    level: str
    place: str
    message: str
    fix: str


class Checked(BaseModel):
    """What a check found; nothing was kept."""

    ready: bool
    findings: list[Finding]
    task: dict[str, Any]
    settings: dict[str, Any]
    content: str | None


class EventPage(BaseModel):
    events: list[dict[str, Any]]
    cursor: int = Field(description="give it as `after` to get what comes next")


@router.get("", response_model=RunList, responses=refusals(422))
def list_(
    parts: TheParts,
    status: Annotated[str | None, Query(description="only these")] = None,
    task: str | None = None,
    strategy: str | None = None,
    metric: Annotated[str | None, Query(description="a metric to sort by, with sort=metric")] = None,
    sort: SortKey = "when",
    reverse: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> RunList:
    """Runs, newest first."""
    found = runs.listed(parts, status=status, task=task, strategy=strategy, metric=metric, sort=sort, reverse=reverse)
    rows = [summary(row) for row in found.rows[offset : offset + limit]]
    unreadable = [{"folder": bad.folder.name, "why": bad.why} for bad in found.unreadable]
    return RunList(total=len(found.rows), runs=rows, unreadable=unreadable)


@router.post("/check", response_model=Checked, responses=refusals(422, 424))
def check(parts: TheParts, body: Settings) -> dict[str, Any]:
    """Checks settings and data; nothing is trained or kept."""
    return runs.check(parts, body.settings)


@router.post("", status_code=201, response_model=RunDetail, responses=refusals(409, 422, 424))
def create(parts: TheParts, body: Settings) -> RunDetail:
    """Puts a run into the queue."""
    return detail(parts, runs.create(parts, body.settings))


@router.get("/{run_id}", response_model=RunDetail, responses=refusals(404, 422))
def get(parts: TheParts, run_id: str) -> RunDetail:
    """One run."""
    return detail(parts, runs.record_of(parts, run_id))


@router.post("/{run_id}/stop", response_model=RunDetail, responses=refusals(404, 409, 422))
def stop(parts: TheParts, run_id: str) -> RunDetail:
    """Asks a run to save and stop; one that waits is taken out of the queue."""
    return detail(parts, runs.stop(parts, run_id))


@router.post("/{run_id}/resume", response_model=RunDetail, responses=refusals(404, 409, 422))
def resume(parts: TheParts, run_id: str) -> RunDetail:
    """Puts a run that did not complete back into the queue; it goes on from its last checkpoint."""
    return detail(parts, runs.resume(parts, run_id))


@router.delete("/{run_id}", status_code=204, responses=refusals(404, 409, 422))
def delete(parts: TheParts, run_id: str) -> None:
    """Deletes a run that is not running, with everything that it left."""
    runs.delete(parts, run_id)


@router.get("/{run_id}/events", response_model=EventPage, responses=refusals(404, 422))
def events(parts: TheParts, run_id: str, after: Annotated[int, Query(ge=0)] = 0) -> dict[str, Any]:
    """What was recorded after a cursor."""
    return event_service.since(runs.record_of(parts, run_id), after)._asdict()


@router.get("/{run_id}/artifacts/{name:path}", response_class=FileResponse, responses=refusals(404, 422))
def artifact(parts: TheParts, run_id: str, name: str) -> FileResponse:
    """A file that the run left, as an attachment."""
    path = runs.artifact(parts, run_id, name)
    return FileResponse(path, filename=path.name, media_type="application/octet-stream")


def summary(row: RunRow) -> RunSummary:
    """A row as JSON takes it."""
    values = {**row.__dict__, "metrics": _finite(row.metrics), "fraction": _number(row.fraction)}
    return RunSummary(**{name: values[name] for name in RunSummary.model_fields})


def detail(parts: Any, record: Record) -> RunDetail:
    """A record as JSON takes it."""
    state = record.state
    row = next((row for row in runs.listed(parts).rows if row.id == record.id), None)
    assert row is not None
    return RunDetail(
        **{**summary(row).model_dump(), "status": record.status, "message": state.get("message") or ""},
        name=record.name,
        content=record.content,
        settings=record.settings,
        passed=record.spec["passed"],
        notes=record.notes,
        resumes=record.resumes,
        artifacts=[path.name for path in record.artifacts],
        log_tail=runs.tail(record),
    )


def _finite(values: Any) -> dict[str, float | None]:
    return {key: _number(value) for key, value in values.items()}


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
