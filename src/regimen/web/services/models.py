"""Models: what runs have left and what was exported, by id; loaded, exported, published and deleted.

A run's model has the run's id. An export's id is that with what it is: `01J...-merged-fp32`. With `:base` after it an
id means the model that training started from.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from regimen.finetune.results.asked import is_asked_as_chat
from regimen.records.index import RunRow, indexed
from regimen.records.reader import Record
from regimen.records.writer import is_locked
from regimen.walking import bytes_below
from regimen.web.modelserver import jobs
from regimen.web.modelserver.asked import Source
from regimen.web.modelserver.jobs import Job
from regimen.web.modelserver.pushing import UPLOADING, token
from regimen.web.modelserver.working import ABOUT
from regimen.web.refusal import Refusal, not_found
from regimen.web.services.parts import Parts
from regimen.web.services.runs import row_of

Kind = Literal["adapter", "model", "merged"]
Precision = Literal["fp32", "bf16"]
BASE = ":base"
MARKS: dict[str, str] = {"model": "config.json", "adapter": "adapter_config.json"}
"""The file by which each is known."""
_PATIENCE_S = 30.0
"""For the Hub to say that it knows who pushes."""


@dataclass(frozen=True)
class Model:
    """A model that can be asked."""

    id: str
    run: str
    """The id of the run that trained it."""
    name: str
    """Task and strategy."""
    kind: Kind
    exported: bool
    base: str
    """What training started from, as the run's settings name it."""
    seed: int
    created_at: float | None
    """Seconds since 1970, UTC."""
    size_bytes: int
    chat: bool
    """Whether a prompt is a turn of a chat, as it was trained; else it is bare text."""
    folder: Path
    run_folder: Path | None
    """None once the run has been deleted."""


def listed(parts: Parts) -> list[Model]:
    """All models below the home, newest first."""
    rows = {row.id: row for row in indexed(parts.home.runs).rows}
    found = [model for row in rows.values() if (model := of_run(row)) is not None]
    found += _exports(parts, rows)
    return sorted(found, key=lambda model: model.created_at or 0.0, reverse=True)


def of_run(row: RunRow) -> Model | None:
    """The model that a run left; None if it left none."""
    for name in ("model", "adapter"):
        folder = row.folder / "artifacts" / name
        if (folder / MARKS[name]).is_file():
            return Model(
                id=row.id,
                run=row.id,
                name=f"{row.task} {row.strategy}",
                kind="model" if name == "model" else "adapter",
                exported=False,
                base=_base_of(row.folder, (row.folder / "spec.yaml").stat().st_mtime_ns),
                seed=row.seed,
                created_at=row.ended_at or row.started_at,
                size_bytes=bytes_below(folder),
                chat=is_asked_as_chat(folder),
                folder=folder,
                run_folder=row.folder,
            )
    return None


def get(parts: Parts, model_id: str) -> Model:
    """One model by its id. Raises `Refusal` 404."""
    ours = None
    with suppress(Refusal):
        ours = of_run(row_of(parts, model_id))
    if ours is not None:
        return ours
    rows = {row.id: row for row in indexed(parts.home.runs).rows}
    model = next((model for model in _exports(parts, rows) if model.id == model_id), None)
    if model is None:
        raise not_found("model", model_id, "A run leaves one when it has completed.")
    return model


def source(parts: Parts, name: str, *, quantized: bool = False) -> Source:
    """Where the files of `name` are: a model's id, or that and `:base`. Raises `Refusal` 404."""
    model = get(parts, name.removesuffix(BASE))
    run = str(model.run_folder) if model.run_folder else ""
    return Source(str(model.folder), run, "base" if name.endswith(BASE) else "tuned", quantized)


def delete(parts: Parts, model_id: str) -> None:
    """Deletes an export, or what a run left of its model; the run's record stays. Raises `Refusal` 404, 409."""
    model = get(parts, model_id)
    if not model.exported and is_locked(model.folder.parent.parent):
        raise Refusal(409, model_id, "is a model of a run that is running.", "Stop the run first.")
    if any(job.status == "running" and job.model == model_id for job in all_jobs(parts)):
        raise Refusal(409, model_id, "is being exported or pushed.", "Wait for the job to end.")
    shutil.rmtree(model.folder)
    if not model.exported:
        shutil.rmtree(model.folder.parent / "base", ignore_errors=True)
    parts.models.forget(str(model.folder))


def export(parts: Parts, model_id: str, kind: Literal["adapter", "model", "merged"], precision: Precision) -> Job:
    """Starts to copy a run's model, or to merge its adapter into its base. Raises `Refusal` 404, 409, 422."""
    model = get(parts, model_id)
    if model.exported:
        raise Refusal(409, model_id, "is an export itself.", "Export the model of a run.")
    if kind == "merged" and model.kind != "adapter":
        raise Refusal(422, "kind", "is merged, and the run left a whole model.", "Export it as it is: kind model.")
    if kind != "merged" and kind != model.kind:
        raise Refusal(422, "kind", f"is {kind}, and the run left: {model.kind}.", f"Ask for {model.kind}.")
    name = f"{model_id}-{kind}" + (f"-{precision}" if kind == "merged" else "")
    out = _folder(parts) / name
    if out.exists() or _is_being_made(parts, name):
        raise Refusal(409, name, "is there already, or is being made.", "Use it, or delete it first.")
    shutil.rmtree(out.with_name(f".{name}"), ignore_errors=True)  # of an export that was killed
    about = {
        "id": name,
        "run": model.run,
        "name": model.name,
        "kind": kind,
        "base": model.base,
        "seed": model.seed,
        "created_at": time.time(),
    }
    arguments = {"run": str(model.run_folder), "out": str(out), "precision": precision, "about": about}
    return _start(parts, "export", model_id, arguments)


def push(parts: Parts, model_id: str, repo: str, *, private: bool, message: str) -> Job:
    """Starts to publish a model's folder, and waits until the Hub has accepted it.

    Raises `Refused` without a token, `Refusal` 404 and 424: what the Hub said.
    """
    model = get(parts, model_id)
    token()
    arguments = {"folder": str(model.folder), "repo": repo, "private": private, "message": message}
    begun = _start(parts, "push", model_id, arguments)
    until = time.monotonic() + _PATIENCE_S
    while True:
        job = job_of(parts, begun.id)
        if job.status == "failed":
            raise Refusal(424, model_id, job.message, job.fix)
        if job.status == "completed" or job.stage == UPLOADING or time.monotonic() > until:
            return job
        time.sleep(0.1)


def all_jobs(parts: Parts) -> list[Job]:
    """Exports and pushes, newest first."""
    return list(jobs.all_of(_jobs(parts)))


def job_of(parts: Parts, job_id: str) -> Job:
    """One job by its id. Raises `Refusal` 404."""
    path = _jobs(parts) / f"{job_id}.json"
    if path.parent != _jobs(parts) or not job_id.isalnum() or not path.is_file():
        raise not_found("job", job_id)
    return Job.read(path)


def bytes_written(parts: Parts, job: Job) -> int | None:
    """How much an export has written up to now; None for what is no export or has ended."""
    if job.what != "export" or job.status != "running":
        return None
    out = Path(job.arguments["out"])
    parts_of = [path for path in out.parent.glob(f"*{out.name}*") if path.name.startswith(".")]
    return sum(map(bytes_below, parts_of))


def _start(parts: Parts, what: jobs.What, model_id: str, arguments: dict[str, Any]) -> Job:
    job = Job(jobs.fresh_id(), what, model_id, time.time(), arguments=arguments)
    return jobs.start(_jobs(parts), job)


def _is_being_made(parts: Parts, name: str) -> bool:
    running = (job for job in all_jobs(parts) if job.what == "export" and job.status == "running")
    return any(Path(job.arguments["out"]).name == name for job in running)


def _folder(parts: Parts) -> Path:
    return parts.home.folder / "models"


def _jobs(parts: Parts) -> Path:
    return parts.home.own / "modeljobs"


def _exports(parts: Parts, rows: dict[str, RunRow]) -> Iterator[Model]:
    for path in sorted(_folder(parts).glob(f"[!.]*/{ABOUT}")):
        about, folder = json.loads(path.read_bytes()), path.parent
        run = rows.get(about["run"])
        yield Model(
            id=folder.name,
            run=about["run"],
            name=about["name"],
            kind=about["kind"],
            exported=True,
            base=about["base"],
            seed=about["seed"],
            created_at=about["created_at"],
            size_bytes=bytes_below(folder),
            chat=is_asked_as_chat(folder),
            folder=folder,
            run_folder=run.folder if run else None,
        )


@lru_cache(maxsize=4096)
def _base_of(run_folder: Path, changed: int) -> str:
    """Without its folders: a name on the Hub stays as it is. Kept, for reading a thousand settings takes seconds."""
    base = str(Record(run_folder).settings["task"].get("model", ""))
    return Path(base).name if base.startswith(("/", "~", ".")) else base
