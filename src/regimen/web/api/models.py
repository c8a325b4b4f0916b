"""Routes of models."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from regimen.web.api.wiring import TheParts, refusals
from regimen.web.modelserver.jobs import Job, JobStatus, What
from regimen.web.services import models
from regimen.web.services.models import Kind, Precision

router = APIRouter(prefix="/models", tags=["models"])


class ModelBody(BaseModel):
    """A model that can be asked, exported and published."""

    id: str = Field(description="of the run that left it, or of the export")
    run: str = Field(description="the run that trained it")
    name: str = Field(description="task and strategy")
    kind: Kind = Field(description="an adapter on its base, a model whose own weights were trained, or both merged")
    exported: bool = Field(description="whether it is a copy outside the run's folder")
    base: str = Field(description="what training started from")
    seed: int
    created_at: float | None = Field(description="seconds since 1970, UTC")
    size_bytes: int
    chat: bool = Field(description="whether it has a chat template")
    run_is_there: bool = Field(description="whether the run has not been deleted")


class ModelList(BaseModel):
    models: list[ModelBody]


class JobBody(BaseModel):
    """An export or a push; a process of its own does it."""

    id: str
    what: What
    model: str
    status: JobStatus
    stage: str = Field(description="what it does now")
    message: str = Field(description="what went wrong")
    fix: str = Field(description="what to do about it")
    result: str = Field(description="the id of the exported model, or the address of what was pushed")
    started_at: float = Field(description="seconds since 1970, UTC")
    ended_at: float | None = Field(description="seconds since 1970, UTC")
    bytes_written: int | None = Field(description="of an export, while it runs")


class JobList(BaseModel):
    jobs: list[JobBody]


class ExportAsked(BaseModel, extra="forbid"):
    kind: Literal["adapter", "model", "merged"] = Field(
        description="the adapter or the model as the run left it, or the adapter merged into its base"
    )
    precision: Precision = Field("fp32", description="of a merged model")


class PushAsked(BaseModel, extra="forbid"):
    repo: str = Field(description="`owner/name` on the Hub", min_length=3, max_length=200, pattern=r"^[\w.-]+/[\w.-]+$")
    private: bool = Field(True, description="whether only you can see it")
    message: str = Field("Trained with Regimen", description="of the commit", min_length=1, max_length=500)


Id = Annotated[str, Field(max_length=200)]


@router.get("", response_model=ModelList, responses=refusals(422))
def list_(parts: TheParts) -> ModelList:
    """What runs have left and what was exported, newest first."""
    return ModelList(models=[body_of(model) for model in models.listed(parts)])


@router.get("/jobs", response_model=JobList, responses=refusals(422))
def jobs(parts: TheParts) -> JobList:
    """Exports and pushes, newest first."""
    return JobList(jobs=[job_body(parts, job) for job in models.all_jobs(parts)])


@router.get("/jobs/{job_id}", response_model=JobBody, responses=refusals(404, 422))
def job(parts: TheParts, job_id: str) -> JobBody:
    """One export or push."""
    return job_body(parts, models.job_of(parts, job_id))


@router.get("/{model_id}", response_model=ModelBody, responses=refusals(404, 422))
def get(parts: TheParts, model_id: str) -> ModelBody:
    """One model."""
    return body_of(models.get(parts, model_id))


@router.delete("/{model_id}", status_code=204, responses=refusals(404, 409, 422, 424))
def delete(parts: TheParts, model_id: str) -> None:
    """Deletes an export, or the model that a run left; the run's record stays."""
    models.delete(parts, model_id)


@router.post("/{model_id}/export", status_code=202, response_model=JobBody, responses=refusals(404, 409, 422))
def export(parts: TheParts, model_id: str, body: ExportAsked) -> JobBody:
    """Copies a run's model into the server's `models` folder, or merges it there."""
    return job_body(parts, models.export(parts, model_id, body.kind, body.precision))


@router.post("/{model_id}/push", status_code=202, response_model=JobBody, responses=refusals(404, 409, 422, 424))
def push(parts: TheParts, model_id: str, body: PushAsked) -> JobBody:
    """Publishes a model on the Hugging Face Hub, with the token of the server's environment."""
    return job_body(parts, models.push(parts, model_id, body.repo, private=body.private, message=body.message))


def body_of(model: models.Model) -> ModelBody:
    """A model as JSON takes it: without folders."""
    values = {**model.__dict__, "run_is_there": model.run_folder is not None}
    return ModelBody(**{name: values[name] for name in ModelBody.model_fields})


def job_body(parts: TheParts, job: Job) -> JobBody:
    """A job as JSON takes it: without its arguments, which name folders."""
    values = {**job.__dict__, "bytes_written": models.bytes_written(parts, job)}
    return JobBody(**{name: values[name] for name in JobBody.model_fields})
