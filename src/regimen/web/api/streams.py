"""Routes that stay open and tell what happens, as server-sent events.

One run: plain messages are the lines of `events.jsonl` (`kind` says which), their id is a cursor; `status` messages say
where the run stands; `end` is the last one. All runs: `run` messages are lines of the list that have changed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from regimen.records.reader import Record
from regimen.web.api.runbodies import After, finite, summary
from regimen.web.api.wiring import Errors, TheParts, refusals
from regimen.web.services import runs
from regimen.web.services.events import since
from regimen.web.services.parts import Parts
from regimen.web.services.watching import Standing, Watch, standing
from regimen.web.sse import Message, Streams, came_back_with

router = APIRouter(prefix="/runs", tags=["streams"])

POLL_S = 0.25
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    429: {"model": Errors, "description": "Too many streams are open."},
}


@router.get("/stream", response_class=StreamingResponse, responses={**_STREAM, **refusals(422)})
async def all_runs(parts: TheParts, request: Request, after: After = 0) -> StreamingResponse:
    """Changes of all runs: first those that wait or train, and those that ended after a moment (`after`, or the id of
    the last message: milliseconds since 1970, UTC).
    """
    return _streams(request).answer(_lines_of_the_list(_watch(request, parts), came_back_with(request, after) / 1000))


@router.get("/{run_id}/events/stream", response_class=StreamingResponse, responses={**_STREAM, **refusals(404, 422)})
async def one_run(parts: TheParts, request: Request, run_id: str, after: After = 0) -> StreamingResponse:
    """What a run records from a cursor on, until it ends."""
    record = await asyncio.to_thread(runs.record_of, parts, run_id)
    return _streams(request).answer(_lines_of_a_run(parts, record, came_back_with(request, after)))


async def _lines_of_a_run(parts: Parts, record: Record, cursor: int) -> AsyncIterator[Message | None]:
    said: Standing | None = None
    while True:
        now = await asyncio.to_thread(standing, parts.queue, record)  # before the events: an end comes after them
        page = await asyncio.to_thread(since, record, cursor)
        for event in page.events:
            yield Message(event, id=str(event["cursor"]))
        moved, cursor = page.cursor > cursor, page.cursor
        if now != said:
            said = now
            yield Message(_standing(now), "status")
        if moved:
            continue
        if now.is_final:
            yield Message(_standing(now), "end")
            return
        yield None
        await asyncio.sleep(POLL_S)


def _standing(now: Standing) -> dict[str, Any]:
    far = now.far._asdict()
    numbers = finite({key: value for key, value in far.items() if isinstance(value, float)})
    return {"status": now.status, "message": now.message, **far, **numbers}


async def _lines_of_the_list(watch: Watch, since_s: float) -> AsyncIterator[Message | None]:
    seen: dict[str, Any] = {}
    while True:
        at = time.time()
        for row in await asyncio.to_thread(watch.changes, seen, since_s):
            yield Message((await asyncio.to_thread(summary, row)).model_dump(), "run", str(int(at * 1000)))
        yield None
        await asyncio.sleep(1.0)


def _streams(request: Request) -> Streams:
    """Of this server, made with the first stream."""
    state = request.app.state
    if not hasattr(state, "streams"):
        state.streams = Streams()
    streams: Streams = state.streams
    return streams


def _watch(request: Request, parts: Parts) -> Watch:
    state = request.app.state
    if not hasattr(state, "watch"):
        state.watch = Watch(parts)
    watch: Watch = state.watch
    return watch
