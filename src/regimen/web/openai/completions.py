"""`/v1/completions`: bare text or token ids in, text out, with log probabilities of answer and prompt.

With `echo`, `logprobs` and `max_tokens` 0 it tells how likely a text is, which is what evaluation harnesses ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, StrictInt, StrictStr

from regimen.web.modelserver.asked import Ask, Likely, Source, Token
from regimen.web.modelserver.eventstream import streamed
from regimen.web.modelserver.leaving import unless_left
from regimen.web.openai.offered import Offered, TheOffered
from regimen.web.openai.wire import (
    REFUSALS,
    Common,
    OpenAIRoute,
    Usage,
    Written,
    all_written,
    event_lines,
    head,
    refuse,
    usage,
    writing,
)

router = APIRouter(prefix="/completions", tags=["openai"], route_class=OpenAIRoute)

Text = Annotated[StrictStr, Field(max_length=1_000_000)]
Ids = Annotated[list[Annotated[StrictInt, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1_000_000)]


class CompletionAsked(Common):
    """A prompt that is to be gone on with."""

    prompt: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1, max_length=512)]
        | Annotated[list[Ids], Field(min_length=1, max_length=512)]
    ) = Field(description="a text, token ids, or a list of either")
    max_tokens: int | None = Field(None, ge=0, le=131072, description="of an answer; unset: 16; 0: look at the prompt")
    logprobs: int | None = Field(None, ge=0, le=20, description="so many likely tokens beside each token")
    echo: bool | None = Field(None, description="the prompt comes before the answer")
    best_of: int | None = Field(None, ge=1, le=16, description="only as many as n")
    suffix: None = Field(None, description="is not supported")


class Logprobs(BaseModel):
    """Of each token; natural logarithms. The first token of a prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One answer."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"] | None


class Completion(BaseModel):
    """Answers to all prompts, those to one beside each other."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


_BOTH: dict[int | str, dict[str, Any]] = {
    200: {"model": Completion, "content": {"text/event-stream": {}}, "description": "JSON, or chunks with `stream`."}
}


@router.post("", response_model=Completion, responses=_BOTH | REFUSALS)
async def complete(request: Request, offered: TheOffered, body: CompletionAsked) -> Any:
    """Goes on with a text."""
    asks = _asks(await asyncio.to_thread(offered.source, body.model), body)
    beginning = head("cmpl", "text_completion", body.model)
    if body.stream:
        return await _stream(offered, asks, body, beginning)
    answers = await unless_left(request, all_written(offered.server, asks))
    choices = [_choice(body, answer) for answer in answers]
    return {**beginning, "choices": choices, "usage": usage(answers, body.n or 1).model_dump()}


def _asks(source: Source, body: CompletionAsked) -> list[Ask]:
    n = body.n or 1
    if body.best_of not in (None, n):
        raise refuse("best_of", f"is {body.best_of}; it can only be what n is, {n}.")
    prompts: list[Any] = list(body.prompt) if _is_many(body.prompt) else [body.prompt]
    return [
        Ask(
            source,
            text=prompt if isinstance(prompt, str) else None,
            ids=None if isinstance(prompt, str) else list(prompt),
            max_new_tokens=16 if body.max_tokens is None else body.max_tokens,
            stop=body.stops,
            sampling=body.sampling(choice),
            top=body.logprobs,
            prompt_tokens=bool(body.echo),
        )
        for prompt in prompts
        for choice in range(n)
    ]


def _is_many(prompt: Any) -> bool:
    return isinstance(prompt, list) and not isinstance(prompt[0], int)


def _choice(body: CompletionAsked, answer: Written) -> dict[str, Any]:
    before = _echoed(body, answer)
    logprobs = None if body.logprobs is None else _logprobs(answer.prompt, answer.tokens, len(before))
    return {
        "index": answer.index,
        "text": before + answer.text,
        "logprobs": logprobs,
        "finish_reason": answer.finish,
    }


def _echoed(body: CompletionAsked, answer: Written) -> str:
    return answer.prompt_text if body.echo else ""


def _logprobs(prompt: Sequence[Token], tokens: Sequence[Token], start: int) -> dict[str, Any]:
    """Of the prompt's tokens, and of the answer's, whose text begins at character `start`."""
    every = [*prompt, *tokens]
    return {
        "tokens": [token["text"] for token in every],
        "token_logprobs": [token["logprob"] for token in every],
        "top_logprobs": [_by_text(token["top"]) for token in every],
        "text_offset": [token["offset"] for token in prompt] + [start + token["offset"] for token in tokens],
    }


def _by_text(top: Sequence[Likely]) -> dict[str, float] | None:
    """Likeliest first; of two tokens with one text, the less likely one is named by its id."""
    found: dict[str, float] = {}
    for likely in top:
        if likely["logprob"] is not None:
            found[likely["text"] if likely["text"] not in found else f"token_id:{likely['id']}"] = likely["logprob"]
    return found or None


async def _stream(
    offered: Offered, asks: list[Ask], body: CompletionAsked, beginning: Mapping[str, Any]
) -> StreamingResponse:
    return await streamed(event_lines(_chunks(offered, asks, body, beginning)))


async def _chunks(
    offered: Offered, asks: list[Ask], body: CompletionAsked, beginning: Mapping[str, Any]
) -> AsyncGenerator[Mapping[str, Any]]:
    prompt_tokens, answer_tokens, n = 0, 0, body.n or 1
    async with aclosing(writing(offered.server, asks)) as told:
        async for answer, message in told:
            said, finish = message.get("said", {}), None
            if "done" in message:
                finish = answer.finish
                answer_tokens += answer.num_tokens
                prompt_tokens += len(answer.prompt_ids) if answer.index % n == 0 else 0
            is_beginning = "prompt_ids" in said
            text = _echoed(body, answer) if is_beginning else said.get("text", "")
            tokens: list[Token] = said.get("tokens", [])
            prompt = answer.prompt if is_beginning else []
            logprobs = None
            if body.logprobs is not None and (prompt or tokens):
                logprobs = _logprobs(prompt, tokens, len(_echoed(body, answer)))
            if text or logprobs or finish or is_beginning:
                choice = {"index": answer.index, "text": text, "logprobs": logprobs, "finish_reason": finish}
                yield {**beginning, "choices": [choice]}
    if body.tells_usage:
        yield {**beginning, "choices": [], "usage": Usage.of(prompt_tokens, answer_tokens).model_dump()}
