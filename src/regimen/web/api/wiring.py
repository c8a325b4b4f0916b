"""How routes get at the server's parts, and what they answer when they refuse."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, Field

from regimen.web.services.parts import Parts


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


TheParts = Annotated[Parts, Depends(_parts)]
"""A parameter of a route that gets the server's `Parts`."""


class OneError(BaseModel):
    place: str = Field(description="a settings path, a file with its line, an id; empty where there is none")
    message: str = Field(description="what is wrong, with the value")
    fix: str = Field(description="what to do")


class Errors(BaseModel):
    """What every refused request is answered with."""

    status: int = Field(description="the HTTP status code")
    errors: list[OneError]


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`."""
    words = {
        404: "There is no such thing.",
        409: "Not in the state that it is in.",
        413: "Too large.",
        415: "Not this content type.",
        422: "Something in the request is wrong.",
        429: "Too many streams are open.",
        424: "A process that was needed did not answer, or the disk is full.",
    }
    return {code: {"model": Errors, "description": words[code]} for code in codes}
