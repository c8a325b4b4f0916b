"""The screens of models: what runs have left and what was exported; copied, merged, published, deleted, used."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Form, Request
from fastapi.responses import Response

from regimen.web.api.wiring import TheParts
from regimen.web.pages.layout import back, page, screens
from regimen.web.services import models
from regimen.web.services.models import MARKS, Precision
from regimen.web.services.parts import Parts

router = screens()

_JOBS = 12
"""The newest exports and pushes that are shown."""
Repository = Annotated[str, Form(min_length=3, max_length=200, pattern=r"^[\w.-]+/[\w.-]+$")]


@router.get("/models")
def all_models(request: Request, parts: TheParts) -> Response:
    """What can be asked."""
    jobs = models.all_jobs(parts)[:_JOBS]
    is_live = any(job.status == "running" for job in jobs)
    return page(request, "models.html", title="Models", models=models.listed(parts), jobs=jobs, is_live=is_live)


@router.get("/models/{model_id}")
def one_model(request: Request, parts: TheParts, model_id: str) -> Response:
    """A model, and what can be done with it."""
    model = models.get(parts, model_id)
    jobs = [job for job in models.all_jobs(parts) if job.model == model_id][:_JOBS]
    return page(
        request,
        "model.html",
        title=model.name,
        model=model,
        card=_card(parts, model),
        jobs=jobs,
        exports=[one for one in models.listed(parts) if one.exported and one.run == model.run and one.id != model_id],
        is_live=any(job.status == "running" for job in jobs),
        is_whole=(model.folder / MARKS["model"]).is_file(),
        server=str(request.base_url).rstrip("/"),
    )


@router.post("/models/{model_id}/export")
def export(
    parts: TheParts,
    model_id: str,
    kind: Annotated[Literal["adapter", "model", "merged"], Form()],
    precision: Annotated[Precision, Form()] = "fp32",
) -> Response:
    """Starts to copy or merge it."""
    models.export(parts, model_id, kind, precision)
    return back(f"/models/{model_id}")


@router.post("/models/{model_id}/push")
def push(
    parts: TheParts,
    model_id: str,
    repo: Repository,
    visible: Annotated[Literal["private", "public"], Form()] = "private",
    message: Annotated[str, Form(min_length=1, max_length=500)] = "Trained with Regimen",
) -> Response:
    """Starts to publish it on the Hub."""
    models.push(parts, model_id, repo, private=visible == "private", message=message)
    return back(f"/models/{model_id}")


@router.get("/models/{model_id}/delete")
def confirm_delete(request: Request, parts: TheParts, model_id: str) -> Response:
    """Says what would be gone."""
    return page(request, "model_delete.html", title="Delete a model", model=models.get(parts, model_id))


@router.post("/models/{model_id}/delete")
def delete(parts: TheParts, model_id: str) -> Response:
    """Deletes it."""
    models.delete(parts, model_id)
    return back("/models")


def _card(parts: Parts, model: models.Model) -> str:
    """The model card that the run wrote, as text; empty where there is none."""
    path = model.folder / "README.md"
    return path.read_text(encoding="utf-8", errors="replace")[:20_000] if path.is_file() else ""
