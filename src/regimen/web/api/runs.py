"""Routes of runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from regimen.listing import SortKey
from regimen.records.writer import Status
from regimen.web.api.runbodies import (
    After,
    ArtifactEntry,
    Checked,
    Edits,
    EventPage,
    Log,
    RunDetail,
    RunDifferences,
    RunList,
    RunTags,
    Settings,
    detail,
    plain,
    summary,
)
from regimen.web.api.wiring import TheParts, refusals
from regimen.web.services import events as event_service
from regimen.web.services import logs, runs

router = APIRouter(prefix="/runs", tags=["runs"])


@router.get("", response_model=RunList, responses=refusals(422))
def list_(
    parts: TheParts,
    status: Annotated[Status | None, Query(description="only these")] = None,
    task: str | None = None,
    strategy: str | None = None,
    tag: str | None = None,
    text: Annotated[str | None, Query(description="in id, names, message, tags or note", max_length=200)] = None,
    metric: Annotated[str | None, Query(description="a metric to sort by, with sort=metric")] = None,
    sort: SortKey = "when",
    reverse: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> RunList:
    """Runs, newest first."""
    found = runs.listed(
        parts,
        status=status,
        task=task,
        strategy=strategy,
        metric=metric,
        sort=sort,
        reverse=reverse,
        tag=tag,
        text=text,
    )
    rows = [summary(row) for row in found.rows[offset : offset + limit]]
    unreadable = [{"folder": bad.folder.name, "why": bad.why} for bad in found.unreadable]
    return RunList(total=len(found.rows), runs=rows, unreadable=unreadable)


@router.post("/check", response_model=Checked, responses=refusals(409, 422, 424))
def check(parts: TheParts, body: Settings) -> Any:
    """Checks settings and data; nothing is trained or kept."""
    return plain(runs.check(parts, body.settings))


@router.post("", status_code=201, response_model=RunDetail, responses=refusals(409, 422, 424))
def create(parts: TheParts, body: Settings) -> RunDetail:
    """Puts a run into the queue."""
    return detail(parts, runs.create(parts, body.settings))


@router.get("/{run_id}", response_model=RunDetail, responses=refusals(404, 422))
def get(parts: TheParts, run_id: str) -> RunDetail:
    """One run."""
    return detail(parts, runs.record_of(parts, run_id))


@router.post("/{run_id}/stop", response_model=RunDetail, responses=refusals(404, 409, 422))
def stop(
    parts: TheParts,
    run_id: str,
    now: Annotated[bool, Query(description="end its process at once; what was not saved is trained again")] = False,
) -> RunDetail:
    """Asks a run to save and stop; one that waits is taken out of the queue."""
    return detail(parts, runs.stop(parts, run_id, now=now))


@router.post("/{run_id}/resume", response_model=RunDetail, responses=refusals(404, 409, 422))
def resume(parts: TheParts, run_id: str) -> RunDetail:
    """Puts a run that did not complete back into the queue; it goes on from its last checkpoint."""
    return detail(parts, runs.resume(parts, run_id))


@router.post("/{run_id}/clone", status_code=201, response_model=RunDetail, responses=refusals(404, 409, 422, 424))
def clone(parts: TheParts, run_id: str, body: Edits) -> RunDetail:
    """Queues another run with the settings of this one, edited."""
    return detail(parts, runs.clone(parts, run_id, settings=body.settings, changes=body.changes))


@router.get("/{run_id}/settings", response_model=Settings, responses=refusals(404, 422))
def settings(parts: TheParts, run_id: str) -> dict[str, Any]:
    """What was passed to start the run: to edit it and start another."""
    return {"settings": plain(runs.settings_of(parts, run_id))}


@router.put("/{run_id}/tags", response_model=RunTags, responses=refusals(404, 422))
def tags(parts: TheParts, run_id: str, body: RunTags) -> dict[str, Any]:
    """Replaces the tags and the note of a run. They are no part of what was computed."""
    said = runs.tag(parts, run_id, body.tags, body.note)
    return {"tags": list(said.tags), "note": said.note}


@router.delete("/{run_id}", status_code=204, responses=refusals(404, 409, 422))
def delete(parts: TheParts, run_id: str) -> None:
    """Deletes a run that is not running, with everything that it left."""
    runs.delete(parts, run_id)


@router.get("/{run_id}/events", response_model=EventPage, responses=refusals(404, 422))
def events(parts: TheParts, run_id: str, after: After = 0) -> dict[str, Any]:
    """What was recorded after a cursor."""
    return event_service.since(runs.record_of(parts, run_id), after)._asdict()


@router.get("/{run_id}/logs", response_model=Log, responses=refusals(404, 422))
def log(
    parts: TheParts,
    run_id: str,
    after: After = 0,
    source: Annotated[logs.Source, Query(description="what it printed while it trained, or before and after")] = "log",
) -> dict[str, Any]:
    """What was printed after a cursor."""
    return logs.log_since(runs.record_of(parts, run_id), after, source)._asdict()


@router.get("/{run_id}/diff/{other_id}", response_model=RunDifferences, responses=refusals(404, 422))
def differences(parts: TheParts, run_id: str, other_id: str) -> Any:
    """What differs between two runs, and where their numbers part."""
    return plain(runs.differences(parts, run_id, other_id))


@router.get("/{run_id}/artifacts", response_model=list[ArtifactEntry], responses=refusals(404, 422))
def artifacts(parts: TheParts, run_id: str) -> list[dict[str, Any]]:
    """The files that a run left."""
    return [found._asdict() for found in runs.artifacts(parts, run_id)]


@router.get("/{run_id}/artifacts/{name:path}", response_class=FileResponse, responses=refusals(404, 422))
def artifact(parts: TheParts, run_id: str, name: str) -> FileResponse:
    """A file that the run left, as an attachment."""
    path = runs.artifact(parts, run_id, name)
    return FileResponse(path, filename=path.name, media_type="application/octet-stream")
