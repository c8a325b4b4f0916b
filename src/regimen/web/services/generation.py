"""Answers of trained models: streamed or whole, alone or beside those of the base, with proof that the two differ."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NotRequired, TypedDict

from regimen.web.modelserver.asked import Ask, Finish, Part, Sampling, Token, Turn
from regimen.web.modelserver.client import ModelServer
from regimen.web.refusal import Refusal
from regimen.web.services import models
from regimen.web.services.parts import Parts


@dataclass(frozen=True)
class Question:
    """What is asked, of which model. Of `prompt` and `messages`, one is given."""

    model: str
    """A model's id, or that and `:base`."""
    prompt: str | None = None
    messages: list[Turn] | None = None
    chat: bool | None = None
    """Whether `prompt` is a turn of a chat or bare text; None: as the model was trained."""
    compare: bool = False
    """Whether the base answers first, and the proof that the two differ comes last."""
    quantized: bool = False
    max_new_tokens: int = 128
    stop: list[str] = field(default_factory=list)
    sampling: Sampling = Sampling()
    seed: int | None = None
    """None: one is drawn, and told."""
    top: int | None = None


class Event(TypedDict):
    """One thing that a stream of answers tells."""

    event: Literal["begin", "piece", "end", "proof"]
    who: NotRequired[Part]
    prompt_tokens: NotRequired[int]
    seed: NotRequired[int]
    text: NotRequired[str]
    tokens: NotRequired[list[Token]]
    finish: NotRequired[Finish]
    num_tokens: NotRequired[int]
    time_ms: NotRequired[float]
    proof: NotRequired[Mapping[str, Any]]


@dataclass
class Answer:
    """A whole one."""

    who: Part
    prompt_tokens: int = 0
    seed: int = 0
    text: str = ""
    num_tokens: int = 0
    finish: Finish = "length"
    time_ms: float = 0.0
    tokens: list[Token] = field(default_factory=list)
    """With probabilities, if they were asked for."""


async def events(parts: Parts, question: Question) -> AsyncGenerator[Event]:
    """For each who answers a `begin`, `piece`s and an `end`; last, where it is compared, the `proof`.

    Raises `Refusal` 404 and 422 and what the model server raises. Cancelled, it ends the generation.
    """
    ask = await asyncio.to_thread(_ask, parts, question)  # it reads files
    sides: tuple[Part, ...] = ("base", "tuned") if question.compare else (ask.source.part,)
    for who in sides:
        one = replace(ask, source=replace(ask.source, part=who))
        async with aclosing(parts.models.said("write", asdict(one))) as messages:
            async for message in messages:
                yield _told(who, ask.sampling.seed, message)
    if question.compare:
        yield Event(event="proof", proof=await last(parts.models, "compare", asdict(ask)))


async def answered(parts: Parts, question: Question) -> tuple[list[Answer], Mapping[str, Any] | None]:
    """Whole answers and the proof, where it was asked for. Raises as `events` does."""
    answers: list[Answer] = []
    proof = None
    async with aclosing(events(parts, question)) as told:
        async for event in told:
            match event["event"]:
                case "begin":
                    answers.append(Answer(event["who"], event["prompt_tokens"], event["seed"]))
                case "piece":
                    answers[-1].text += event["text"]
                    answers[-1].tokens += event["tokens"]
                case "end":
                    now = answers[-1]
                    now.finish, now.num_tokens, now.time_ms = event["finish"], event["num_tokens"], event["time_ms"]
                case "proof":
                    proof = event["proof"]
    return answers, proof


async def last(server: ModelServer, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an operation returns at its end."""
    done: Mapping[str, Any] = {}
    async with aclosing(server.said(operation, arguments)) as messages:
        async for message in messages:
            done = message.get("done", done)
    return done


def _ask(parts: Parts, question: Question) -> Ask:
    if (question.prompt is None) == (question.messages is None):
        raise Refusal(422, "prompt", "and messages: exactly one of the two is needed.")
    if question.compare and question.model.endswith(models.BASE):
        raise Refusal(422, "compare", "asks for the base, and so does the model's name.", "Name the tuned model.")
    source = models.source(parts, question.model, quantized=question.quantized)
    messages, text = question.messages, question.prompt
    chat = models.get(parts, question.model.removesuffix(models.BASE)).chat if question.chat is None else question.chat
    if text is not None and chat:
        messages, text = [{"role": "user", "content": text}], None
    seed = secrets.randbits(31) if question.seed is None else question.seed
    return Ask(
        source,
        messages=messages,
        text=text,
        max_new_tokens=question.max_new_tokens,
        stop=question.stop,
        sampling=replace(question.sampling, seed=seed),
        top=question.top,
    )


def _told(who: Part, seed: int, message: Mapping[str, Any]) -> Event:
    if "done" in message:
        end = message["done"]
        return Event(event="end", who=who, finish=end["finish"], num_tokens=end["tokens"], time_ms=end["time_ms"])
    said = message["said"]
    if "prompt_ids" in said:
        return Event(event="begin", who=who, prompt_tokens=len(said["prompt_ids"]), seed=seed)
    return Event(event="piece", who=who, text=said["text"], tokens=said["tokens"])
