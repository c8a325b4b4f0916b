"""Serves one model alone: the routes of OpenAI's API behind the same gate as the whole server's."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI

from regimen.errors import Problem, RecordError
from regimen.listing import resolve
from regimen.records.index import read_row
from regimen.web import openai
from regimen.web.apidocs import DescribedApp
from regimen.web.gate import Gate
from regimen.web.modelserver.asked import Source
from regimen.web.modelserver.client import ModelServer
from regimen.web.modelserver.working import ABOUT
from regimen.web.openai.offered import OfOne
from regimen.web.security import protect
from regimen.web.serve import Address, listen_and_serve
from regimen.web.services.models import MARKS, of_run


def found(runs: Path, text: str, *, quantized: bool = False) -> OfOne:
    """The model that `text` means: the folder of an exported one, or a run by its folder or id.

    Raises `RecordError` if it means none, or a run that left none.
    """
    folder = Path(text)
    if any((folder / mark).is_file() for mark in MARKS.values()):
        run = _run_of(runs, folder)
        source = Source(str(folder.resolve()), str(run.resolve()) if run else "", quantized=quantized)
        has_base = bool(run) or (folder / MARKS["adapter"]).is_file()
        return OfOne(ModelServer(idle_s=0), folder.resolve().name, source, int(folder.stat().st_mtime), has_base)
    run_folder = resolve(runs, text)
    model = of_run(read_row(run_folder))
    if model is None:
        fix = "Only a language model's run that has completed leaves one."
        raise RecordError(Problem(str(run_folder), "has left no model.", fix))
    source = Source(str(model.folder.resolve()), str(run_folder.resolve()), quantized=quantized)
    return OfOne(ModelServer(idle_s=0), model.id, source, int(model.created_at or 0), has_base=True)


def make_model_app(offered: OfOne, gate: Gate | None = None) -> FastAPI:
    """The application; without a `gate` it answers on loopback alone and asks nobody for a token."""

    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        yield
        offered.server.close()

    app = DescribedApp(lifespan=alive)
    app.state.offered = offered
    app.include_router(openai.router)
    protect(app, gate or Gate(), Path())
    return app


def serve(offered: OfOne, address: Address, started: Callable[[str, str | None], None]) -> None:
    """Loads the model, and serves it until SIGINT or SIGTERM.

    `started` gets the address and the token, None where nobody on this machine needs one. Raises what loading raises,
    and `SpecError` where the address cannot be had.
    """
    try:
        with address.listen() as listening:
            offered.server.ask("load", offered.tuned.__dict__)
            token = secrets.token_urlsafe(32)
            gate = address.gate(listening, token)
            needed = token if gate.always else None
            app = make_model_app(offered, gate)
            listen_and_serve(app, listening, lambda: started(f"{address.url(listening)}v1", needed))
    finally:
        offered.server.close()


def _run_of(runs: Path, folder: Path) -> Path | None:
    """The folder of the run that an export came from, if it is there."""
    with suppress(FileNotFoundError, RecordError):
        return resolve(runs, json.loads((folder / ABOUT).read_bytes())["run"])
    return None
