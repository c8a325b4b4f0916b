"""What the routes of runs take and answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from regimen.records.index import RunRow
from regimen.records.reader import Record
from regimen.records.writer import Status
from regimen.web.services import runs
from regimen.web.services.events import how_far
from regimen.web.services.outcomes import Kind, explain
from regimen.web.services.parts import Parts
from regimen.web.services.queueing import place_of
from regimen.web.services.tags import LONGEST_NOTE, MOST_TAGS, read_tags

Number = float | None
"""None for what JSON has no number for."""


class Settings(BaseModel):
    """What a RUN.yaml holds: `task`, `strategy`, `budget`, `seed`, ..."""

    model_config = ConfigDict(extra="forbid")
    settings: dict[str, Any] = Field(description="as in RUN.yaml", examples=[{"task": "sorting", "strategy": "sft"}])


class Edits(BaseModel):
    """What a clone has differently."""

    model_config = ConfigDict(extra="forbid")
    settings: dict[str, Any] | None = Field(None, description="in place of those of the run, as in RUN.yaml")
    changes: dict[str, Any] = Field(
        {}, description="values by dotted path", examples=[{"strategy.optimizer.lr": 0.0001, "seed": 1}]
    )


class RunTags(BaseModel):
    """What people write on a run."""

    model_config = ConfigDict(extra="forbid")
    tags: list[str] = Field([], max_length=MOST_TAGS)
    note: str = Field("", max_length=LONGEST_NOTE)


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
    tags: list[str]


class RunList(BaseModel):
    total: int = Field(description="how many runs match")
    runs: list[RunSummary]
    unreadable: list[dict[str, str]] = Field(description="folders that look like runs and cannot be read")


class RunOutcome(BaseModel):
    """How a run stands or ended, and what to do next."""

    kind: Kind
    sentence: str
    next_step: str
    log_tail: list[str] = Field(description="the last lines of its log, where they may explain something")


class RunDetail(RunSummary):
    """One run."""

    name: str
    content: str = Field(description="hash of what is computed")
    settings: dict[str, Any] = Field(description="checked, with defaults")
    passed: dict[str, Any] = Field(description="as they were given")
    note: str = Field(description="what people wrote on it")
    notes: list[str] = Field(description="what a reader of its numbers must know")
    resumes: list[int] = Field(description="steps from which it went on")
    artifacts: list[str]
    log_tail: list[str] = Field(description="the last lines of its log")
    outcome: RunOutcome
    phase: str = Field(description="what is under way after the training: search, retrain, ranking; else empty")
    elapsed_s: Number = Field(description="seconds of training, as last recorded")
    left_s: Number = Field(description="seconds until the budget (of the phase) is spent, at the recorded pace")
    place: int | None = Field(description="how many runs of the queue are before it, while it waits")
    actions: list[runs.Action] = Field(description="what may be done with it now")


class Finding(BaseModel):
    model_config = ConfigDict(extra="allow")
    level: str
    place: str
    message: str
    fix: str


class Checked(BaseModel):
    """What a check found; nothing was kept."""

    model_config = ConfigDict(extra="allow")
    ready: bool
    findings: list[Finding]
    task: dict[str, Any]
    settings: dict[str, Any]
    content: str | None


class EventPage(BaseModel):
    events: list[dict[str, Any]]
    cursor: int = Field(description="give it as `after` to get what comes next")


class Log(BaseModel):
    text: str
    cursor: int = Field(description="give it as `after` to get what comes next")
    size: int = Field(description="bytes of the log as it is now")


class ArtifactEntry(BaseModel):
    name: str
    bytes: int
    changed_at: float = Field(description="seconds since 1970, UTC")


class Changed(BaseModel):
    name: str
    a: Any
    b: Any


class Parted(Changed):
    step: int


class RunDifferences(BaseModel):
    """What differs between two runs, causes first."""

    schema_version: int
    a: str
    b: str
    identical: bool
    conclusion: str
    settings: list[Changed]
    data: Changed | None
    code: Changed | None
    environment: list[Changed]
    outcome: list[Changed]
    parting: Parted | None = Field(description="the first number that both recorded and that is not the same")
    shared: int
    only_a: int
    only_b: int
    weights: str
    weights_step: int | None


After = Annotated[int, Query(ge=0, le=2**53, description="the cursor of an earlier answer; 0 is the beginning")]


def summary(row: RunRow) -> RunSummary:
    """A row as JSON takes it."""
    values = {**row.__dict__, "metrics": finite(row.metrics), "fraction": _number(row.fraction)}
    values["tags"] = list(read_tags(row.folder).tags)
    return RunSummary(**{name: values[name] for name in RunSummary.model_fields})


def detail(parts: Parts, record: Record) -> RunDetail:
    """A record as JSON takes it."""
    row = runs.row_of(parts, record.id)
    said, how, far = read_tags(record.folder), explain(record), how_far(record)
    return RunDetail(
        **{**summary(row).model_dump(), "status": record.status, "message": record.state.get("message") or ""},
        name=record.name,
        content=record.content,
        settings=plain(record.settings),
        passed=plain(record.spec["passed"]),
        note=said.note,
        notes=record.notes,
        resumes=record.resumes,
        artifacts=[path.name for path in record.artifacts],
        log_tail=runs.tail(record),
        outcome=RunOutcome(**how._asdict()),
        phase=far.phase,
        elapsed_s=_number(far.elapsed_s),
        left_s=_number(far.left_s) if record.status == "running" else None,
        place=place_of(parts, record.id),
        actions=runs.actions(parts, record),
    )


def finite(values: Mapping[str, float]) -> dict[str, Number]:
    return {key: _number(value) for key, value in values.items()}


def _number(value: float | None) -> Number:
    return value if value is not None and math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Settings as JSON takes them: numbers that it lacks are words, and so is what YAML has and JSON has not."""
    if isinstance(value, Mapping):
        return {_text(str(key)): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value if value is None or isinstance(value, bool | int | float) else _text(str(value))


def _text(value: str) -> str:
    """Half a character cannot be sent."""
    return value.encode("utf-8", "backslashreplace").decode()
