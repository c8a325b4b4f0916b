"""Errors in ModelForge's shape: `{"error", "detail", "status_code"}`; what is wrong with a request is 400."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from regimen.errors import Problem, RegimenError, SpecError
from regimen.web.api.wiring import Errors
from regimen.web.refusal import status_of

APP = "Regimen"


class Body(BaseModel):
    """What a request may say: as it is declared, nothing converted, nothing besides."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())


class Answer(BaseModel):
    """What a route answers."""

    model_config = ConfigDict(protected_namespaces=())


class ErrorBody(Answer):
    """What every refused request is answered with."""

    error: str = Field(description="what is wrong, in a sentence")
    detail: str = Field(description="all that is wrong, each with its place and what to do, a line each")
    status_code: int = Field(description="the HTTP status code")


_WORDS = {
    400: "Something in the request is wrong.",
    403: "The model cannot be had, or a page of another origin asks.",
    404: "There is no such thing.",
    409: "Not in the state that it is in.",
    413: "Too large.",
    415: "Not this content type.",
    424: "A process that was needed did not answer.",
}


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: 400 and these. The gate, before all routes, answers in its own shape."""
    return {code: {"model": ErrorBody | Errors, "description": _WORDS[code]} for code in (400, *codes)}


class ModelForgeRoute(APIRoute):
    """A route that refuses in ModelForge's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                problems = [Problem(".".join(map(str, one["loc"][1:])), f"{one['msg']}.") for one in error.errors()]
                return _refused(SpecError(problems))
            except RegimenError as error:
                return _refused(error)

        return handled


def error_of(error: RegimenError) -> ErrorBody:
    """An error as ModelForge says it."""
    status = status_of(error)
    said = str(error.problems[0]._replace(fix=""))
    return ErrorBody(error=said, detail=str(error), status_code=400 if status == 422 else status)


def _refused(error: RegimenError) -> JSONResponse:
    body = error_of(error)
    return JSONResponse(body.model_dump(), body.status_code)
