"""The application: routes, how refusals look, and what runs beside them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from regimen.errors import Problem, RegimenError, SpecError
from regimen.queue.keeper import Keeper
from regimen.web import apidocs, modelforge, openai
from regimen.web.api import curves, datasets, generate, hardware, models, plugins, queue, runs, streams
from regimen.web.apidocs import DescribedApp
from regimen.web.gate import Gate, is_page
from regimen.web.pages import site
from regimen.web.pages.layout import refused
from regimen.web.refusal import Refusal, body_of, status_of
from regimen.web.security import protect
from regimen.web.services.parts import Parts
from regimen.web.unforeseen import write_report

TICK_S = 0.3


def make_app(parts: Parts, *, keeper: Keeper | None = None, gate: Gate | None = None) -> FastAPI:
    """The server of a home. With a `keeper`, runs are started; without, the queue only fills (for tests).

    Without a `gate` it answers on loopback alone and asks nobody for a token: for tests, too.
    """

    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        done = threading.Event()
        thread = threading.Thread(target=_keep, args=(keeper, parts, done), daemon=True) if keeper else None
        if thread:
            thread.start()
            parts.helper.warm()  # its imports take seconds: the first question need not wait for all of them
        yield
        done.set()
        if thread:
            thread.join()
        parts.close()

    app = DescribedApp(lifespan=alive)
    app.state.parts = parts
    api = APIRouter(prefix="/api/v1")
    for group in (
        streams,
        runs,
        queue,
        hardware,
        models,
        generate,
        curves,
        plugins,
        datasets,
    ):  # `/runs/stream` is no id
        api.include_router(group.router)
    app.include_router(api)
    app.include_router(openai.router)
    app.include_router(modelforge.router)
    app.include_router(apidocs.router)
    app.include_router(site.router)
    app.add_exception_handler(RegimenError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    protect(app, gate or Gate(), parts.home.folder)
    return app


def _keep(keeper: Keeper, parts: Parts, done: threading.Event) -> None:
    """Until `done`. A tick that fails is reported, once for each kind of failure, and the next one is tried."""
    reported: set[str] = set()
    found = False
    while not done.wait(TICK_S):
        try:
            if not found:
                keeper.find_again(parts.home.runs)
                found = True
            keeper.tick()
        except Exception as error:  # noqa: BLE001 - reported; runs that can go on do
            if repr(error) not in reported:
                reported.add(repr(error))
                write_report(parts.home.folder, "the queue", error)
    keeper.close()


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RegimenError)
    return JSONResponse(body_of(error), status_of(error))


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [Problem(".".join(map(str, one["loc"])), f"{one['msg']}.") for one in error.errors()]
    return JSONResponse(body_of(SpecError(problems)), 422)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = Refusal(error.status_code, request.url.path, f"{error.detail}.")
    if is_page(request.url.path) and "text/html" in request.headers.get("accept", ""):
        return refused(request, refusal)
    return JSONResponse(body_of(refusal), error.status_code, error.headers)
