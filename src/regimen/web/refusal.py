"""What the server refuses, with the right status code: where, what, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regimen.errors import (
    DataError,
    MissingExtra,
    Problem,
    RecordError,
    Refused,
    RegimenError,
    ResourceError,
    ResumeRefused,
    SpecError,
    StrategyFailed,
)

STATUS: dict[type[RegimenError], int] = {
    SpecError: 422,
    DataError: 422,
    MissingExtra: 422,
    StrategyFailed: 422,
    RecordError: 404,
    ResumeRefused: 409,
    Refused: 409,
    ResourceError: 424,
}
"""The status of each of our errors; what is not listed has that of its nearest base class."""


class Refusal(RegimenError):
    """A request that cannot be served as it is."""

    exit_code = 2

    def __init__(self, status: int, place: str, message: str, fix: str = "") -> None:
        super().__init__(Problem(place, message, fix))
        self.status = status


def not_found(what: str, name: str, fix: str = "") -> Refusal:
    return Refusal(404, name, f"there is no such {what}.", fix)


def status_of(error: RegimenError) -> int:
    """The HTTP status code of an error; never one of 5xx."""
    if isinstance(error, Refusal):
        return error.status
    for cls in type(error).__mro__:
        if cls in STATUS:
            return STATUS[cls]
    return 424


def body_of(error: RegimenError) -> dict[str, Any]:
    """As JSON: `{"status": 422, "errors": [{"place", "message", "fix"}]}`."""
    return {"status": status_of(error), "errors": [problem._asdict() for problem in error.problems]}


def from_answer(answer: Mapping[str, Any]) -> RegimenError:
    """The error that the helper met."""
    problems = [Problem(*problem) for problem in answer["problems"]]
    kinds: dict[str, type[RegimenError]] = {cls.__name__: cls for cls in STATUS}
    kind = kinds.get(answer["error"])
    if kind is not None:
        return kind(problems)
    made = Refusal(424, *problems[0])
    made.problems = tuple(problems)
    return made
