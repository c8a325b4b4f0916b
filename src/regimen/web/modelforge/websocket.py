"""`/ws/training`: where a training stands and its numbers, as they are recorded.

    {"type": "status", ...}                                    as `/api/training_status`, whenever it changes
    {"type": "metrics", "job_id", "step", "epoch", "loss", "learning_rate", "values", "cursor"}
    {"type": "resumed", "job_id", "step", "cursor"}            forget what was told after this step
    {"type": "error", "error", "detail", "status_code"}        the last one

With `?job_id=` it closes when that training has ended; without, it follows whatever is started next. `?after=` is the
`cursor` of the last message that a client has: it misses nothing and gets nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, WebSocket
from starlette.websockets import WebSocketDisconnect

from regimen.errors import RegimenError
from regimen.events import from_json
from regimen.records.reader import Record
from regimen.web.api.runbodies import After, finite
from regimen.web.modelforge.session import Session
from regimen.web.modelforge.status import IDLE, TrainingStatus, job_of, status_of
from regimen.web.modelforge.wire import error_of
from regimen.web.services.events import since
from regimen.web.services.parts import Parts
from regimen.web.services.watching import standing

router = APIRouter()

POLL_S = 0.5
MOST = 64
"""Sockets open at once."""
_FULL, _REFUSED = 1013, 1008

Told = dict[str, Any]


@router.websocket("/ws/training")
async def training(
    websocket: WebSocket, job_id: Annotated[str | None, Query(max_length=64)] = None, after: After = 0
) -> None:
    """Sends until the training has ended or the client leaves; what a client sends is not looked at."""
    state = websocket.app.state
    if getattr(state, "training_sockets", 0) >= MOST:
        await websocket.close(_FULL, "too many are open")
        return
    state.training_sockets = getattr(state, "training_sockets", 0) + 1
    await websocket.accept()
    left = asyncio.ensure_future(_left(websocket))
    try:
        with suppress(WebSocketDisconnect, RuntimeError):  # it left while it was told something
            await _tell(websocket, left, job_id, after)
    finally:
        state.training_sockets -= 1
        left.cancel()


async def _tell(websocket: WebSocket, left: asyncio.Future[None], job_id: str | None, after: int) -> None:
    session = Session(websocket.app.state.parts.home, websocket)
    try:
        async for message in _messages(websocket.app.state.parts, session, job_id, after):
            if message is not None:
                await websocket.send_json(message)
            else:
                await asyncio.wait({left}, timeout=POLL_S)
            if left.done():
                return
    except RegimenError as error:
        await websocket.send_json({"type": "error", **error_of(error).model_dump()})
        await websocket.close(_REFUSED)
        return
    await websocket.close()


async def _left(websocket: WebSocket) -> None:
    """Until the client has gone."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _messages(parts: Parts, session: Session, job_id: str | None, after: int) -> AsyncIterator[Told | None]:
    """None where there is nothing new."""
    job: str | None = None
    told: TrainingStatus | None = None
    cursor = after
    while True:
        record = await asyncio.to_thread(job_of, parts, session, job_id)
        if record is not None and job is not None and record.id != job:
            cursor = 0  # another training
        job = record.id if record is not None else job
        moved, now, is_final = False, IDLE, False
        if record is not None:
            now, is_final = await asyncio.to_thread(_now, parts, record)  # before the events: an end comes after them
            page = await asyncio.to_thread(since, record, cursor)
            for event in page.events:
                if (message := _told(record.id, event)) is not None:
                    yield message
            moved, cursor = page.cursor > cursor, page.cursor
        if now != told and not (moved and is_final):
            told = now
            yield {"type": "status", **now.model_dump()}
        if moved:
            continue
        if is_final and job_id is not None:
            return
        yield None


def _now(parts: Parts, record: Record) -> tuple[TrainingStatus, bool]:
    return status_of(parts, record), standing(parts.queue, record).is_final


def _told(job_id: str, event: dict[str, Any]) -> Told | None:
    place = {"job_id": job_id, "cursor": event["cursor"]}
    if event.get("kind") == "resumed":
        return {"type": "resumed", "step": event["resumed_from"], **place}
    if event.get("kind") != "metrics":
        return None
    values = finite(from_json(event["values"]))
    named = {"epoch": "train/epoch", "loss": "train/loss", "learning_rate": "train/lr"}
    return {
        "type": "metrics",
        "step": event["step"],
        **{name: values.get(key) for name, key in named.items()},
        "values": values,
        **place,
    }
