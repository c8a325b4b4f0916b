"""The screen of one run: where it stands, its curves as they grow, and all that it has left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from fastapi import Depends, Form, Query, Request
from fastapi.responses import FileResponse, Response

from regimen.readable import duration, number
from regimen.records.reader import Record
from regimen.records.writer import Status
from regimen.report import artifacts, circumstances, outcome
from regimen.report.glossary import meaning
from regimen.walking import bytes_below, files_below
from regimen.web.api.wiring import TheParts
from regimen.web.pages.layout import FRAMED, back, page, screens
from regimen.web.pages.lines import LIVE
from regimen.web.pages.wording import flat, percent, since, size
from regimen.web.refusal import not_found
from regimen.web.services import curves, runs
from regimen.web.services.charts import importance
from regimen.web.services.columns import Columns
from regimen.web.services.logs import tail
from regimen.web.services.models import MARKS
from regimen.web.services.outcomes import explain
from regimen.web.services.parts import Parts
from regimen.web.services.tags import read_tags
from regimen.web.services.watching import Standing, standing

router = screens()

_LOG_LINES = 400
_PREFLIGHT = "info: "
"""How notes begin that say what preflight noticed, as in the report."""
_FIGURES = {"report.html": "Report", "ranking.html": "Search", "comparison.html": "Comparison"}
"""Pages that a run leaves, complete in themselves, and what the tabs call them."""

_LOOKS: dict[Status, str] = {"queued": "", "stopped": "warn"}
"""Of the banner that says how a run ended; all others are bad news."""


class Tab(NamedTuple):
    name: str
    title: str
    holds: Callable[[Parts, Record, Columns], dict[str, Any]]
    """What its template needs."""


class File(NamedTuple):
    """Something that a run has left."""

    name: str
    size: str
    link: str


class Given(NamedTuple):
    """A setting, and whether the user gave it."""

    path: str
    value: object
    is_given: bool


Scale = Literal["auto", "linear", "log"]


class Drawn:
    """How the curves are looked at; it all stands in the address."""

    def __init__(
        self,
        x: curves.Axis = "step",
        smooth: Annotated[int, Query(ge=0, le=40)] = 5,
        scale: Scale = "auto",
        more: bool = False,
    ) -> None:
        self.x, self.smooth, self.scale, self.more = x, smooth, scale, more

    axes = get_args(curves.Axis)
    scales = get_args(Scale)


# ------------------------------------------------------------------------------------------------ showing


@router.get("/runs/{run_id}")
def one_run(
    request: Request, parts: TheParts, run_id: str, drawn: Annotated[Drawn, Depends()], tab: str = "overview"
) -> Response:
    """A run under one of its tabs."""
    record = runs.record_of(parts, run_id)
    columns = curves.columns_of(parts, record)
    tabs = _tabs(record)
    chosen = next((one for one in tabs if one.name == tab), None)
    if chosen is None:
        raise not_found("tab", tab, f"This run has {', '.join(one.name for one in tabs)}.")
    now = standing(parts.queue, record)
    waits = parts.queue.row(run_id)
    return page(
        request,
        f"run_{'figure' if tab in _FIGURES else tab}.html",
        draws=tab == "overview",
        title=f"{record.name} · {record.status}",
        record=record,
        tabs=tabs,
        tab=tab,
        ending=None if now.status in ("running", "completed") else explain(record),
        look=_LOOKS.get(now.status, "bad"),
        written=read_tags(record.folder),
        now=now,
        actions=runs.actions(parts, record),
        left_model=any((record.folder / "artifacts" / kind / mark).is_file() for kind, mark in MARKS.items()),
        is_stopping=waits is not None and waits.state == "running" and waits.stop_asked_at is not None,
        facts=list(_facts(record, columns, now)),
        drawn=drawn,
        **chosen.holds(parts, record, columns),
    )


def _tabs(record: Record) -> list[Tab]:
    """Those for which the run has left something."""
    found = [Tab("overview", "Overview", _overview)]
    for name, title in _FIGURES.items():
        if _figure(record, name).is_file():
            found.append(Tab(name, title, lambda *_: {}))
    if (record.folder / "artifacts" / "samples.json").is_file():
        found.append(Tab("answers", "Answers", _answers))
    if (record.folder / "artifacts" / "data.json").is_file():
        found.append(Tab("data", "Data", _data))
    return [*found, Tab("settings", "Settings", _settings), Tab("files", "Files", _files), Tab("log", "Log", _log)]


def _facts(record: Record, columns: Columns, now: Standing) -> Iterator[tuple[str, str]]:
    """The few numbers that anybody asks for first; what was not recorded is not said."""
    last, far = columns.latest, now.far
    if far.step:
        yield "step", number(far.step)
    if epoch := last.get("train/epoch"):
        yield "epoch", number(epoch, 3)
    if now.status == "running" and far.fraction is not None:
        yield f"{far.phase.replace('_', ' ')} done".lstrip(), percent(far.fraction)
        yield "left", duration(far.left_s) if far.left_s is not None else "unknown"
    if far.elapsed_s is not None:
        yield "training time", duration(far.elapsed_s)
    if speed := last.get("time/tokens_per_s"):
        yield "tokens per second", number(speed, 3)
    if memory := last.get("time/peak_memory_mb"):
        yield "memory at most", size(memory * 1e6)
    if started := record.state.get("started_at"):
        yield "started", since(started)


def _overview(parts: Parts, record: Record, columns: Columns) -> dict[str, Any]:
    latest = {key: value for key, value in columns.latest.items() if not key.startswith("time/")}
    notes = list(dict.fromkeys(text for _, text in columns.notes))
    return {
        "results": "" if record.status in LIVE else outcome.results(record),
        "latest": [(key, meaning(key).title, latest[key]) for key in sorted(latest, key=importance)],
        "notes": [text for text in notes if not text.startswith(_PREFLIGHT)],
        "noticed": [text.removeprefix(_PREFLIGHT) for text in notes if text.startswith(_PREFLIGHT)],
        "resumes": [step for _, step in columns.resumes],
        "log": tail(record, 14),
    }


def _answers(parts: Parts, record: Record, columns: Columns) -> dict[str, Any]:
    return {"samples": artifacts.samples(record.folder), "proof": artifacts.proof(record.folder)}


def _data(parts: Parts, record: Record, columns: Columns) -> dict[str, Any]:
    return {"data": artifacts.data(record.folder)}


def _settings(parts: Parts, record: Record, columns: Columns) -> dict[str, Any]:
    given = dict(flat(record.spec.get("passed", {})))
    short = {path for path in given if not isinstance(given[path], dict)}
    rows = [
        Given(path, value, path in short or path.removesuffix(".name") in short)
        for path, value in flat(record.settings)
        if path != "schema_version"
    ]
    return {"rows": rows, "environment": circumstances.environment(record), "content": record.content}


def _files(parts: Parts, record: Record, columns: Columns) -> dict[str, Any]:
    whole = ("report.html", "events.jsonl", "log.txt", "spec.yaml", "status.json", "environment.json")
    here = f"/api/v1/runs/{record.id}/artifacts"
    folder = record.folder / "artifacts"
    left = [path for path in files_below(folder) if path.is_file() and not path.name.startswith(".")]
    files = [File(str(path.relative_to(folder)), *_sized(path, here, folder)) for path in left]
    own = [File(name, *_sized(record.folder / name, here, record.folder)) for name in whole]
    return {
        "left": files,
        "own": [file for file in own if (record.folder / file.name).is_file()],
        "checkpoints": [path.name for path in record.checkpoints],
    }


def _sized(path: Path, here: str, folder: Path) -> tuple[str, str]:
    return (size(bytes_below(path)) if path.is_file() else ""), f"{here}/{path.relative_to(folder).as_posix()}"


def _log(parts: Parts, record: Record, columns: Columns) -> dict[str, Any]:
    return {"log": tail(record, _LOG_LINES), "most": _LOG_LINES}


# ------------------------------------------------------------------------------------------------ figures


@router.get("/runs/{run_id}/figures/{name}")
def figure(parts: TheParts, run_id: str, name: str) -> Response:
    """A page that the run has left, for a frame: it may style itself, and nothing else."""
    path = _figure(runs.record_of(parts, run_id), name)
    if name not in _FIGURES or not path.is_file():
        raise not_found("figure", name)
    return FileResponse(path, media_type="text/html; charset=utf-8", headers=FRAMED)


def _figure(record: Record, name: str) -> Path:
    return record.folder / name if name == "report.html" else record.folder / "artifacts" / name


# ------------------------------------------------------------------------------------------------ doing


@router.post("/runs/{run_id}/stop")
def stop(parts: TheParts, run_id: str, now: Annotated[bool, Form()] = False) -> Response:
    """Asks the run to save and stop; `now`, without waiting for it to save."""
    runs.stop(parts, run_id, now=now)
    return back(f"/runs/{run_id}")


@router.post("/runs/{run_id}/resume")
def resume(parts: TheParts, run_id: str) -> Response:
    """Puts the run back into the queue."""
    runs.resume(parts, run_id)
    return back(f"/runs/{run_id}")


@router.post("/runs/{run_id}/tags")
def tag(parts: TheParts, run_id: str, tags: Annotated[str, Form()] = "", note: Annotated[str, Form()] = "") -> Response:
    """Keeps what a person writes on the run; tags come with commas."""
    runs.tag(parts, run_id, [tag for tag in tags.split(",") if tag.strip()], note)
    return back(f"/runs/{run_id}")


@router.get("/runs/{run_id}/delete")
def confirm_delete(request: Request, parts: TheParts, run_id: str) -> Response:
    """Says what would be gone."""
    record = runs.record_of(parts, run_id)
    whole = size(bytes_below(record.folder))
    return page(request, "run_delete.html", title="Delete a run", record=record, whole=whole)


@router.post("/runs/{run_id}/delete")
def delete(parts: TheParts, run_id: str) -> Response:
    """Deletes the run."""
    runs.delete(parts, run_id)
    return back("/runs")
