"""Ends work whose client has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from regimen.web.refusal import Refusal

T = TypeVar("T")
_LOOK_S = 0.5


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns; once the client has closed the connection, the work is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_S))[0]:
            if await request.is_disconnected():
                raise Refusal(499, "", "the client has left.")
        return task.result()
    finally:
        task.cancel()
