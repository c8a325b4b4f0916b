"""The application: routes, how refusals look, and what runs beside them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import regimen
from regimen.errors import Problem, RegimenError, SpecError
from regimen.queue.keeper import Keeper
from regimen.web.api import runs
from regimen.web.refusal import Refusal, body_of, status_of
from regimen.web.services.parts import Parts

TICK_S = 0.3


def make_app(parts: Parts, *, keeper: Keeper | None = None) -> FastAPI:
    """The server of a home. With a `keeper`, runs are started; without, the queue only fills (for tests)."""

    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        done = threading.Event()
        thread = threading.Thread(target=_keep, args=(keeper, parts, done), daemon=True) if keeper else None
        if thread:
            thread.start()
        yield
        done.set()
        if thread:
            thread.join()
        parts.close()

    app = FastAPI(title="Regimen", version=regimen.__version__, docs_url=None, redoc_url=None, lifespan=alive)
    app.state.parts = parts
    api = APIRouter(prefix="/api/v1")
    for group in (runs,):
        api.include_router(group.router)
    app.include_router(api)
    app.add_exception_handler(RegimenError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    return app


def _keep(keeper: Keeper, parts: Parts, done: threading.Event) -> None:
    keeper.find_again(parts.home.runs)
    while not done.wait(TICK_S):
        keeper.tick()


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RegimenError)
    return JSONResponse(body_of(error), status_of(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [Problem(".".join(map(str, one["loc"])), f"{one['msg']}.") for one in error.errors()]
    return JSONResponse(body_of(SpecError(problems)), 422)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse(body_of(Refusal(error.status_code, request.url.path, f"{error.detail}.")), error.status_code)
