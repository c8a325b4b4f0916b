"""The screen where one talks to a model, with its base beside it and the proof that the two differ.

With JavaScript answers are streamed and the chat stays in the page; without, a form asks one question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from regimen.errors import Problem, RegimenError, SpecError
from regimen.web.api.wiring import TheParts
from regimen.web.modelserver.asked import Sampling
from regimen.web.modelserver.leaving import unless_left
from regimen.web.pages.layout import page, screens
from regimen.web.refusal import status_of
from regimen.web.services import generation, models
from regimen.web.services.generation import Answer, Question
from regimen.web.services.parts import Parts

router = screens()

As = Literal["trained", "chat", "text"]
"""How a message is put: as a turn of a chat where the model has a template, always so, or as bare text."""


class Wanted:
    """The model and how it answers; it all stands in the address."""

    def __init__(
        self,
        model: Annotated[str, Query(max_length=300)] = "",
        compare: bool = True,
        as_: Annotated[As, Query(alias="as")] = "trained",
        max_new_tokens: Annotated[int, Query(ge=1, le=65536)] = 128,
        temperature: Annotated[float, Query(ge=0, le=100)] = 0.0,
        top_p: Annotated[float, Query(gt=0, le=1)] = 1.0,
        top_k: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        seed: Annotated[str, Query(max_length=19, pattern=r"^[0-9]*$")] = "",
    ) -> None:
        self.model, self.compare, self.as_, self.max_new_tokens = model, compare, as_, max_new_tokens
        self.temperature, self.top_p, self.top_k, self.seed = temperature, top_p, top_k, seed

    def question(self, prompt: str) -> Question:
        return Question(
            self.model,
            prompt=prompt,
            chat=None if self.as_ == "trained" else self.as_ == "chat",
            compare=self.compare and not self.model.endswith(models.BASE),
            max_new_tokens=self.max_new_tokens,
            sampling=Sampling(self.temperature, self.top_p, self.top_k),
            seed=int(self.seed) if self.seed else None,
        )


@dataclass
class Said:
    """What was asked and answered without JavaScript."""

    prompt: str = ""
    answers: list[Answer] = field(default_factory=list)
    proof: Mapping[str, Any] | None = None
    problems: list[Problem] = field(default_factory=list)
    status: int = 200


@router.get("/playground")
def playground(request: Request, parts: TheParts, wanted: Annotated[Wanted, Depends()]) -> Response:
    """A place to ask."""
    return _shown(request, parts, wanted, Said())


@router.post("/playground")
async def ask(request: Request, parts: TheParts) -> Response:
    """One question, answered in the page."""
    posted = {key: text for key, text in (await request.form()).multi_items() if isinstance(text, str)}
    wanted, said = _wanted(posted), Said(posted.get("prompt", ""))
    try:
        said.answers, said.proof = await unless_left(request, generation.answered(parts, wanted.question(said.prompt)))
    except RegimenError as error:
        said.problems, said.status = list(error.problems), status_of(error)
    return await run_in_threadpool(_shown, request, parts, wanted, said)


def _wanted(posted: Mapping[str, str]) -> Wanted:
    """Raises `SpecError` for a number that is none, or out of bounds."""
    return Wanted(
        posted.get("model", ""),
        posted.get("compare") == "true",
        _as(posted.get("as", "trained")),
        int(_number(posted, "max_new_tokens", 128, 1, 65536)),
        _number(posted, "temperature", 0.0, 0, 100),
        _number(posted, "top_p", 1.0, 1e-9, 1),
        int(_number(posted, "top_k", 0, 0, 1_000_000)),
        str(int(_number(posted, "seed", 0, 0, 2**63 - 1))) if posted.get("seed", "").strip() else "",
    )


def _as(text: str) -> As:
    found: dict[str, As] = {"trained": "trained", "chat": "chat", "text": "text"}
    if text not in found:
        raise SpecError(Problem("as", f"is {text[:60]!r}.", f"Give {', '.join(found)}."))
    return found[text]


def _number(posted: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = posted.get(name, "").strip()
    try:
        number = (int(text) if text.isdigit() else float(text)) if text else default
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise SpecError(Problem(name, f"is {text[:60]!r}.", f"Give a number from {least:g} to {most:g}."))
    return number


def _shown(request: Request, parts: Parts, wanted: Wanted, said: Said) -> Response:
    known = models.listed(parts)
    if not wanted.model and known:
        wanted.model = known[0].id
    return page(
        request,
        "playground.html",
        status=said.status,
        title="Playground",
        models=known,
        wanted=wanted,
        said=said,
    )
