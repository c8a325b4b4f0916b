"""What chat and completions share: common parameters, answers being written, streams, and errors in OpenAI's shape."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, StrictStr

from regimen.errors import Problem, RegimenError, SpecError
from regimen.web.api.wiring import Errors
from regimen.web.modelserver.asked import Ask, Finish, Sampling, Token
from regimen.web.modelserver.client import ModelServer
from regimen.web.refusal import Refusal, status_of

StopText = Annotated[StrictStr, Field(min_length=1, max_length=200)]
Bias = Annotated[float, Field(ge=-100, le=100)]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]


class StreamOptions(BaseModel):
    """Of a stream."""

    include_usage: bool = False


class Common(BaseModel, extra="forbid"):
    """What both kinds of request can say. What is not here is refused: it would have no effect."""

    model: str = Field(description="one of /v1/models", max_length=300)
    temperature: float | None = Field(None, ge=0, le=2, description="0 takes the likeliest token; unset: 1")
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=1_000_000, description="not OpenAI's: draw from so many tokens; 0: all")
    n: int | None = Field(None, ge=1, le=16, description="answers to each prompt")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=16)] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[TokenId, Bias] | None = Field(None, max_length=1000)
    user: str | None = Field(None, max_length=1000, description="is not looked at")

    def sampling(self, choice: int) -> Sampling:
        """Of the answer with this number: answers to one prompt differ, and with a seed they repeat."""
        seed = secrets.randbits(62) if self.seed is None else self.seed + choice
        return Sampling(
            1.0 if self.temperature is None else self.temperature,
            1.0 if self.top_p is None else self.top_p,
            self.top_k or 0,
            seed,
            self.frequency_penalty or 0.0,
            self.presence_penalty or 0.0,
            self.logit_bias or {},
        )

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def tells_usage(self) -> bool:
        """At the end of a stream."""
        return self.stream_options is not None and self.stream_options.include_usage


class Usage(BaseModel):
    """Counted in tokens; a prompt with several answers counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt: int, completion: int) -> Usage:
        return cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """What a refused request is answered with."""

    error: ErrorDetail


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody | Errors, "description": "Something in the request is wrong."},
    404: {"model": ErrorBody, "description": "There is no such model."},
    409: {"model": ErrorBody, "description": "The model cannot be had in this form."},
    424: {"model": ErrorBody, "description": "The model's process ended."},
}


class OpenAIRoute(APIRoute):
    """A route that refuses in OpenAI's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                places = [".".join(map(str, one["loc"][1:])) for one in error.errors()]
                problems = [Problem(place, one["msg"]) for place, one in zip(places, error.errors(), strict=True)]
                return refused(SpecError(problems))
            except RegimenError as error:
                return refused(error)

        return handled


def refused(error: RegimenError) -> JSONResponse:
    """As a response; what is wrong with a request is 400 here."""
    status = status_of(error)
    return JSONResponse(error_of(error), 400 if status == 422 else status)


def error_of(error: RegimenError) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    text, status = str(error), status_of(error)
    code = "context_length_exceeded" if "maximum context length" in text else None
    code = "model_not_found" if status == 404 else code
    kind = "invalid_request_error" if status < 424 else "server_error"
    return {"error": {"message": text, "type": kind, "param": error.problems[0].place or None, "code": code}}


@dataclass
class Written:
    """One answer, as far as it has been written."""

    index: int
    prompt_ids: list[int] = field(default_factory=list)
    prompt_text: str = ""
    prompt: list[Token] = field(default_factory=list)
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish: Finish | None = None
    num_tokens: int = 0

    def take(self, message: Mapping[str, Any]) -> None:
        """Adds what a message of the model server says."""
        if "done" in message:
            self.finish, self.num_tokens = message["done"]["finish"], message["done"]["tokens"]
        elif "prompt_ids" in (said := message["said"]):
            self.prompt_ids, self.prompt_text, self.prompt = said["prompt_ids"], said["prompt_text"], said["prompt"]
        else:
            self.text += said["text"]
            self.tokens += said["tokens"]


async def writing(server: ModelServer, asks: list[Ask]) -> AsyncGenerator[tuple[Written, Mapping[str, Any]]]:
    """Each answer after the other: what has been written of it, and the message that has just been taken."""
    for index, ask in enumerate(asks):
        written = Written(index)
        async with aclosing(server.said("write", asdict(ask))) as messages:
            async for message in messages:
                written.take(message)
                yield written, message


async def all_written(server: ModelServer, asks: list[Ask]) -> list[Written]:
    """Whole answers, in order."""
    found: dict[int, Written] = {}
    async with aclosing(writing(server, asks)) as told:
        async for written, _ in told:
            found[written.index] = written
    return list(found.values())


def usage(answers: list[Written], n: int) -> Usage:
    """Of `n` answers to each prompt."""
    return Usage.of(
        sum(len(answer.prompt_ids) for answer in answers[::n]), sum(answer.num_tokens for answer in answers)
    )


async def event_lines(chunks: AsyncGenerator[Mapping[str, Any]]) -> AsyncGenerator[str]:
    """As server-sent events with their end mark; what goes wrong after the first is an event, too."""
    begun = False
    try:
        async with aclosing(chunks) as all_chunks:
            async for chunk in all_chunks:
                begun = True
                yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"
    except RegimenError as error:
        if not begun:
            raise
        yield f"data: {json.dumps(error_of(error))}\n\n"


def head(prefix: str, kind: str, model: str) -> dict[str, Any]:
    """How every response and chunk begins."""
    return {"id": f"{prefix}-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def refuse(param: str, message: str) -> Refusal:
    return Refusal(422, param, message)
