"""Routes that ask a trained model."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from regimen.web.api.wiring import TheParts
from regimen.web.modelforge.models import Id
from regimen.web.modelforge.session import Session, TheSession
from regimen.web.modelforge.wire import APP, Answer, Body, ModelForgeRoute, refusals
from regimen.web.modelserver.asked import Sampling
from regimen.web.modelserver.leaving import unless_left
from regimen.web.refusal import Refusal, not_found
from regimen.web.services import generation, models
from regimen.web.services.generation import Question
from regimen.web.services.parts import Parts

router = APIRouter(prefix="/playground", tags=["modelforge"], route_class=ModelForgeRoute)

Prompt = Annotated[str, Field(max_length=1_000_000)]
Many = Annotated[int, Field(ge=1, le=65536)]
Temperature = Annotated[float, Field(ge=0, le=100, description="0 takes the likeliest token")]
TopP = Annotated[float, Field(gt=0, le=1, description="draw from the likeliest tokens with this probability together")]
USUAL_TOKENS = 128


class GenerateAsked(Body):
    """A prompt, and how it is to be answered."""

    model_id: Id = Field(description="with `:base` after it, what the model was trained from")
    prompt: Prompt
    max_new_tokens: Many = USUAL_TOKENS
    temperature: Temperature = 0.7
    top_p: TopP = 0.9


class Generated(Answer):
    """An answer."""

    generated_text: str
    tokens_generated: int
    generation_time_ms: float = Field(description="of the writing, without loading and waiting")
    prompt: str
    model_id: str


class NewAsked(Body):
    """A model; with a prompt, what it is asked at once."""

    model_id: Id | None = None
    model_path: Id | None = Field(None, description="instead of model_id")
    prompt: Prompt | None = None
    max_length: Many = USUAL_TOKENS
    temperature: Temperature = 0.7
    top_p: TopP = 0.9


class Opened(Answer):
    """Where to talk to a model."""

    success: Literal[True] = True
    model_id: str
    url: str = Field(description="the page, of this server")
    message: str


class ModelPath(Answer):
    app_name: str = APP
    model_path: str = Field(description="what the other routes take: the model's id")
    model_id: str


@router.post("/generate", response_model=Generated, responses=refusals(404, 409, 424))
async def generate(request: Request, parts: TheParts, body: GenerateAsked) -> Generated:
    """Asks a model, and answers when it has ended."""
    sampling = Sampling(body.temperature, body.top_p)
    return await _answer(request, parts, body.model_id, body.prompt, body.max_new_tokens, sampling)


@router.post("/new", response_model=Opened | Generated, responses=refusals(404, 409, 424))
async def new(request: Request, parts: TheParts, body: NewAsked) -> Opened | Generated:
    """Asks a model; without a prompt, tells where its playground is. Nothing is opened on the server."""
    model_id = body.model_id if body.model_id is not None else body.model_path
    if model_id is None:
        raise Refusal(422, "model_path", "is missing.", "Give the id of a model, see /api/models.")
    if body.prompt is not None:
        sampling = Sampling(body.temperature, body.top_p)
        return await _answer(request, parts, model_id, body.prompt, body.max_length, sampling)
    await run_in_threadpool(models.source, parts, model_id)
    return Opened(model_id=model_id, url=f"/playground?model={quote(model_id)}", message="Talk to it on this page.")


@router.get("/model_path", response_model=ModelPath, responses=refusals(404))
def model_path(
    parts: TheParts,
    session: TheSession,
    model_id: Annotated[
        str | None, Query(max_length=200, description="unset: what the last training left, else the newest")
    ] = None,
) -> ModelPath:
    """The model to talk to."""
    found = models.get(parts, model_id).id if model_id is not None else _last(parts, session)
    return ModelPath(model_path=found, model_id=found)


async def _answer(
    request: Request, parts: Parts, model_id: str, prompt: str, most: int, sampling: Sampling
) -> Generated:
    question = Question(model_id, prompt=prompt, max_new_tokens=most, sampling=sampling)
    (answer,), _ = await unless_left(request, generation.answered(parts, question))
    return Generated(
        generated_text=answer.text,
        tokens_generated=answer.num_tokens,
        generation_time_ms=answer.time_ms,
        prompt=prompt,
        model_id=model_id,
    )


def _last(parts: Parts, session: Session) -> str:
    there = [model.id for model in models.listed(parts)]
    if not there:
        raise not_found("model", "model_path", "Train one first.")
    job = session.chosen.job_id
    return job if job in there else there[0]
