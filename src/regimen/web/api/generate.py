"""The route that asks a model."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from regimen.errors import RegimenError
from regimen.web.api.wiring import TheParts, refusals
from regimen.web.modelserver.asked import Finish, Part, Sampling
from regimen.web.modelserver.eventstream import streamed
from regimen.web.modelserver.leaving import unless_left
from regimen.web.refusal import body_of
from regimen.web.services import generation
from regimen.web.services.generation import Question
from regimen.web.services.parts import Parts

router = APIRouter(prefix="/generate", tags=["models"])

Text = Annotated[str, Field(max_length=1_000_000)]
StopText = Annotated[str, Field(min_length=1, max_length=200)]


class Message(BaseModel, extra="forbid"):
    """A turn of a chat."""

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: Text


class Asked(BaseModel, extra="forbid"):
    """A prompt or a chat, and how the answer is to be made."""

    model: str = Field(description="a model's id; with `:base` after it, what it was trained from", max_length=300)
    prompt: Text | None = Field(None, description="instead of messages")
    messages: list[Message] | None = Field(None, description="a chat", min_length=1, max_length=1000)
    chat: bool | None = Field(
        None, description="whether the prompt is a turn of a chat or bare text; unset: as the model was trained"
    )
    compare: bool = Field(False, description="the base answers, too, and it is proved that the two differ")
    quantized: bool = Field(False, description="the base in as few bits as the run trained it with")
    max_new_tokens: int = Field(128, ge=1, le=65536)
    temperature: float = Field(0.0, ge=0, le=100, description="0 takes the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1, description="draw from the likeliest tokens with this probability together")
    top_k: int = Field(0, ge=0, le=1_000_000, description="draw from so many of the likeliest tokens; 0: all")
    seed: int | None = Field(None, ge=0, lt=2**63, description="of the draws; unset: a new one, which is told")
    stop: list[StopText] = Field([], max_length=16, description="the answer ends before the first of these")
    logprobs: int | None = Field(None, ge=0, le=20, description="tell tokens, and so many likely ones beside each")
    stream: bool = Field(False, description="server-sent events instead of one JSON object")


class LikelyBody(BaseModel):
    id: int
    text: str
    logprob: float | None = Field(description="natural logarithm; of the model, before temperature and limits")


class TokenBody(LikelyBody):
    """A token of an answer."""

    top: list[LikelyBody] = Field(description="the likeliest tokens at its place")
    offset: int = Field(description="characters before it")


class AnswerBody(BaseModel):
    """One answer."""

    who: Part
    prompt_tokens: int
    seed: int
    text: str
    num_tokens: int
    finish: Finish = Field(description="stop: it ended itself, or before a stop text; length: no more were allowed")
    time_ms: float = Field(description="of the writing, without loading and waiting")
    tokens: list[TokenBody] | None = Field(description="if logprobs was asked for")


class ProofBody(BaseModel):
    """That the tuned model is not its base."""

    differ: bool
    logit_distance: float | None = Field(
        description="largest absolute difference of a logit on this prompt; null where a model's are not finite"
    )
    prompt_tokens: int
    weights_sha256: str = Field(description="of the files of the adapter or the model")
    template_sha256: str | None = Field(description="of the chat template")
    trained: dict[str, Any] | None = Field(description="what the run measured when it saved the model")


class Generated(BaseModel):
    """Answers, the base's first where both were asked."""

    answers: list[AnswerBody]
    proof: ProofBody | None


_BOTH: dict[int | str, dict[str, Any]] = {
    200: {"model": Generated, "content": {"text/event-stream": {}}, "description": "JSON, or events with `stream`."}
}


@router.post("", response_model=Generated, responses=_BOTH | refusals(404, 409, 422, 424))
async def generate(request: Request, parts: TheParts, body: Asked) -> Generated | StreamingResponse:
    """Asks a model.

    As a stream: `begin`, `piece` and `end` for each who answers, `proof` where it was asked for, then `done`; or
    `error`.
    """
    question = _question(body)
    if body.stream:
        return await streamed(_lines(parts, question))
    answers, proof = await unless_left(request, generation.answered(parts, question))
    told = body.logprobs is not None
    return Generated.model_validate(
        {
            "answers": [{**answer.__dict__, "tokens": answer.tokens if told else None} for answer in answers],
            "proof": proof,
        }
    )


def _question(body: Asked) -> Question:
    return Question(
        body.model,
        prompt=body.prompt,
        messages=[message.model_dump() for message in body.messages] if body.messages else None,
        chat=body.chat,
        compare=body.compare,
        quantized=body.quantized,
        max_new_tokens=body.max_new_tokens,
        stop=body.stop,
        sampling=Sampling(body.temperature, body.top_p, body.top_k),
        seed=body.seed,
        top=body.logprobs,
    )


async def _lines(parts: Parts, question: Question) -> AsyncGenerator[str]:
    begun = False
    try:
        async with aclosing(generation.events(parts, question)) as events:
            async for event in events:
                begun = True
                rest = {key: value for key, value in event.items() if key != "event"}
                yield _event(event["event"], event["proof"] if event["event"] == "proof" else rest)
        yield _event("done", {})
    except RegimenError as error:
        if not begun:
            raise  # the status can still say it
        yield _event("error", body_of(error))


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
