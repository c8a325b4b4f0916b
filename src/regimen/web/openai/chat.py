"""`/v1/chat/completions`: a chat in, rendered with the template that the model was trained with; its next turn out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from regimen.web.modelserver.asked import Ask, Likely, Source, Token
from regimen.web.modelserver.eventstream import streamed
from regimen.web.modelserver.leaving import unless_left
from regimen.web.openai.offered import Offered, TheOffered
from regimen.web.openai.wire import (
    REFUSALS,
    Common,
    OpenAIRoute,
    Usage,
    all_written,
    event_lines,
    head,
    refuse,
    usage,
    writing,
)

router = APIRouter(prefix="/chat/completions", tags=["openai"], route_class=OpenAIRoute)

Text = Annotated[str, Field(max_length=1_000_000)]


class TextPart(BaseModel, extra="forbid"):
    """A part of a turn; pictures and sound are refused."""

    type: Literal["text"]
    text: Text


class ChatTurn(BaseModel, extra="forbid"):
    """A turn of the chat."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[TextPart], Field(max_length=1000)]
    name: str | None = Field(None, max_length=200)

    def turn(self) -> dict[str, str]:
        """As a template takes it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": text} | ({"name": self.name} if self.name is not None else {})


class ResponseFormat(BaseModel, extra="forbid"):
    """Only text."""

    type: Literal["text"]


class ChatAsked(Common):
    """A chat that is to be gone on with."""

    messages: list[ChatTurn] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(None, ge=1, le=131072, description="of an answer; unset: what the model takes")
    max_completion_tokens: int | None = Field(None, ge=1, le=131072, description="the newer name of max_tokens")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20, description="so many likely tokens beside each; with logprobs")
    response_format: ResponseFormat | None = None


class LikelyToken(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None = Field(description="UTF-8; null where the token is no whole letter")


class TokenLogprob(LikelyToken):
    """A token of the answer."""

    top_logprobs: list[LikelyToken]


class ChatLogprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


class AnswerTurn(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: AnswerTurn
    logprobs: ChatLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class ChatCompletion(BaseModel):
    """The next turn, or several to choose from."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


_BOTH: dict[int | str, dict[str, Any]] = {
    200: {"model": ChatCompletion, "content": {"text/event-stream": {}}, "description": "JSON, or chunks."}
}


@router.post("", response_model=ChatCompletion, responses=_BOTH | REFUSALS)
async def chat(request: Request, offered: TheOffered, body: ChatAsked) -> Any:
    """Goes on with a chat."""
    asks = _asks(await asyncio.to_thread(offered.source, body.model), body)
    if body.stream:
        return await streamed(event_lines(_chunks(offered, asks, body)))
    answers = await unless_left(request, all_written(offered.server, asks))
    choices = [
        {
            "index": answer.index,
            "message": {"role": "assistant", "content": answer.text, "refusal": None},
            "logprobs": _logprobs(answer.tokens) if body.logprobs else None,
            "finish_reason": answer.finish,
        }
        for answer in answers
    ]
    beginning = head("chatcmpl", "chat.completion", body.model)
    return {**beginning, "choices": choices, "usage": usage(answers, len(asks)).model_dump()}


def _asks(source: Source, body: ChatAsked) -> list[Ask]:
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise refuse("max_tokens", "and max_completion_tokens are one setting: give one of them.")
    if body.top_logprobs is not None and not body.logprobs:
        raise refuse("top_logprobs", "needs logprobs: true.")
    most = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    return [
        Ask(
            source,
            messages=[turn.turn() for turn in body.messages],
            max_new_tokens=most,
            stop=body.stops,
            sampling=body.sampling(choice),
            top=(body.top_logprobs or 0) if body.logprobs else None,
        )
        for choice in range(body.n or 1)
    ]


def _logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    return {
        "content": [
            {**_likely(token), "top_logprobs": [_likely(likely) for likely in token["top"]]} for token in tokens
        ],
        "refusal": None,
    }


def _likely(token: Likely) -> dict[str, Any]:
    text, logprob = token["text"], token["logprob"]
    is_whole = "\ufffd" not in text
    return {
        "token": text,
        "logprob": -9999.0 if logprob is None else logprob,  # OpenAI's number for what it cannot say
        "bytes": list(text.encode()) if is_whole else None,
    }


async def _chunks(offered: Offered, asks: list[Ask], body: ChatAsked) -> AsyncGenerator[Mapping[str, Any]]:
    beginning = head("chatcmpl", "chat.completion.chunk", body.model)
    prompt_tokens, answer_tokens = 0, 0
    async with aclosing(writing(offered.server, asks)) as told:
        async for answer, message in told:
            said = message.get("said", {})
            delta: dict[str, str] = {}
            tokens: list[Token] = said.get("tokens", [])
            if "done" in message:
                answer_tokens += answer.num_tokens
            elif "prompt_ids" in said:
                prompt_tokens, delta = len(answer.prompt_ids), {"role": "assistant", "content": ""}
            elif said["text"] or (body.logprobs and tokens):
                delta = {"content": said["text"]}
            else:
                continue
            choice = {
                "index": answer.index,
                "delta": delta,
                "logprobs": _logprobs(tokens) if body.logprobs and tokens else None,
                "finish_reason": answer.finish,
            }
            yield {**beginning, "choices": [choice]}
    if body.tells_usage:
        yield {**beginning, "choices": [], "usage": Usage.of(prompt_tokens, answer_tokens).model_dump()}
