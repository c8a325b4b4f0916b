"""Routes of trained models: listed, looked at, deleted, published. A model's path is its id: no folder leaves here."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter
from pydantic import Field

from regimen.errors import RecordError
from regimen.published import to_published
from regimen.records.reader import Record
from regimen.web.api.runbodies import finite, plain
from regimen.web.api.wiring import TheParts
from regimen.web.modelforge.names import TASKS, Provider, TaskName
from regimen.web.modelforge.wire import Answer, Body, ModelForgeRoute, refusals
from regimen.web.refusal import Refusal
from regimen.web.services import models
from regimen.web.services.models import Model

router = APIRouter(tags=["modelforge"], route_class=ModelForgeRoute)

Id = Annotated[str, Field(min_length=1, max_length=200)]


class ModelInfo(Answer):
    """A trained model, in the names of the documentation and of the page."""

    id: str
    model_id: str = Field(description="the same")
    name: str
    model_name: str = Field(description="the same")
    base_model: str
    task: TaskName
    strategy: str | None = Field(description="null once its run has been deleted")
    provider: Provider
    description: str
    created_at: str | None = Field(description="UTC")
    creation_date: str | None = Field(description="the same")
    size_mb: float
    path: str = Field(description="what the other routes take as model_path: its id")
    model_path: str = Field(description="the same")


class ModelDetail(ModelInfo):
    """One of them, with how it was trained."""

    config: dict[str, Any] = Field(description="in flat names")
    metrics: dict[str, float | None]


class ModelList(Answer):
    success: Literal[True] = True
    models: list[ModelInfo]
    total: int


class Deleted(Answer):
    success: Literal[True] = True
    message: str


class PushAsked(Body):
    """What to publish, and where."""

    repo_name: str = Field(min_length=3, max_length=200, pattern=r"^[\w.-]+/[\w.-]+$", description="`owner/name`")
    model_id: Id | None = None
    model_path: Id | None = Field(None, description="instead of model_id")
    private: bool = True


class Pushed(Answer):
    """An upload that the Hub has accepted, or that has ended."""

    success: Literal[True] = True
    message: str
    repo_url: str
    job_id: str = Field(description="see /api/v1/models/jobs")


@router.get("/models", response_model=ModelList, responses=refusals())
def list_models(parts: TheParts) -> ModelList:
    """All trained models, newest first."""
    return _listed(parts, None)


@router.get("/models/all", response_model=ModelList, responses=refusals())
def all_models(parts: TheParts) -> ModelList:
    """All trained models, newest first."""
    return _listed(parts, None)


@router.get("/models/task/{task}", response_model=ModelList, responses=refusals())
def models_of_task(parts: TheParts, task: TaskName) -> ModelList:
    """Those trained for a task."""
    return _listed(parts, task)


@router.get("/models/{model_id}", response_model=ModelDetail, responses=refusals(404))
def get_model(parts: TheParts, model_id: str) -> ModelDetail:
    """One model, and how it was trained."""
    model = models.get(parts, model_id)
    config, metrics = dict[str, Any](), dict[str, float | None]()
    if model.run_folder is not None:
        record = Record(model.run_folder)
        kept = {"task": {**record.settings["task"], "data": {}}, "strategy": record.settings["strategy"]}
        config = plain(to_published(kept | {name: record.settings[name] for name in ("budget", "seed")}))
        metrics = finite(record.final)
    config.pop("model_name", None)
    return ModelDetail(**_info(model).model_dump(), config=config, metrics=metrics)


@router.delete("/models/{model_id}", response_model=Deleted, responses=refusals(404, 409, 424))
def delete_model(parts: TheParts, model_id: str) -> Deleted:
    """Deletes a model; the record of its run stays."""
    models.delete(parts, model_id)
    return Deleted(message=f"Model {model_id} deleted successfully")


@router.post("/hub/push", response_model=Pushed, responses=refusals(404, 409, 424))
def push_to_hub(parts: TheParts, body: PushAsked) -> Pushed:
    """Publishes a model on the Hugging Face Hub with the token of the server's environment; private unless told."""
    model_id = body.model_id if body.model_id is not None else body.model_path
    if model_id is None:
        raise Refusal(422, "model_id", "is missing.", "Give the id of a model, see /api/models.")
    job = models.push(parts, model_id, body.repo_name, private=body.private, message="Trained with Regimen")
    said = "pushed to HuggingFace Hub successfully" if job.status == "completed" else "is being uploaded"
    url = job.result or f"https://huggingface.co/{body.repo_name}"
    return Pushed(message=f"Model {model_id} {said}.", repo_url=url, job_id=job.id)


def _listed(parts: TheParts, task: TaskName | None) -> ModelList:
    found = [_info(model) for model in models.listed(parts)]
    wanted = [info for info in found if task in (None, info.task)]
    return ModelList(models=wanted, total=len(wanted))


class _Origin(NamedTuple):
    """What a model's run says of it."""

    task: TaskName
    strategy: str | None
    provider: Provider


@lru_cache(maxsize=4096)
def _origin(run_folder: Path, changed: int) -> _Origin:
    """Kept, for reading a thousand settings takes seconds."""
    try:
        settings = Record(run_folder).settings
    except RecordError:
        return _UNKNOWN
    task = settings["task"]
    purpose = task.get("purpose", TASKS[0])
    provider: Provider = "unsloth" if task.get("provider") == "unsloth" else "huggingface"
    return _Origin(purpose if purpose in TASKS else TASKS[0], settings["strategy"]["name"], provider)


_UNKNOWN = _Origin(TASKS[0], None, "huggingface")


def _info(model: Model) -> ModelInfo:
    folder = model.run_folder
    origin = _origin(folder, (folder / "spec.yaml").stat().st_mtime_ns) if folder else _UNKNOWN
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(model.created_at)) if model.created_at else None
    return ModelInfo(
        id=model.id,
        model_id=model.id,
        name=model.name,
        model_name=model.name,
        base_model=model.base,
        task=origin.task,
        strategy=origin.strategy,
        provider=origin.provider,
        description=f"{model.kind} of {model.base}, trained for {origin.task}",
        created_at=at,
        creation_date=at,
        size_mb=round(model.size_bytes / 1e6, 3),
        path=model.id,
        model_path=model.id,
    )
