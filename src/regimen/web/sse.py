"""Server-sent events: how a message looks on the wire, and a bounded number of streams that end with their client.

    id: 5120                       where the client is when it has this one; it says so when it comes back
    event: status                  absent for plain messages
    data: {"kind": "metrics", ...}

Between messages a comment is sent every few seconds, so that nobody on the way takes the stream for dead.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import StreamingResponse

from regimen.web.refusal import Refusal

HEARTBEAT_S = 10.0
MOST_STREAMS = 64
"""Open at once; a browser opens one a page."""
RETRY_MS = 1000
"""How long a client waits before it comes back."""


class Message(NamedTuple):
    data: Mapping[str, Any]
    event: str | None = None
    id: str | None = None


def encode(message: Message) -> bytes:
    r"""As it goes over the wire.

    >>> encode(Message({"a": 1}, "status", "7"))
    b'id: 7\nevent: status\ndata: {"a": 1}\n\n'
    """
    head = (f"id: {message.id}\n" if message.id else "") + (f"event: {message.event}\n" if message.event else "")
    return f"{head}data: {json.dumps(message.data, allow_nan=False)}\n\n".encode()


class Streams:
    """The open streams of one server."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self.most, self.open = most, 0

    def answer(self, source: AsyncIterator[Message | None]) -> StreamingResponse:
        """Sends what `source` yields until it ends or the client leaves; None where nothing has happened for a while.

        Raises `Refusal` 429 if too many are open.
        """
        if self.open >= self.most:
            text = f"{self.open} streams are open already."
            raise Refusal(429, "stream", text, "Close a page, or ask for events after a cursor instead.")
        return StreamingResponse(
            self._sent(source), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    async def _sent(self, source: AsyncIterator[Message | None]) -> AsyncIterator[bytes]:
        with self._counted():
            yield f"retry: {RETRY_MS}\n\n".encode()
            sent_at = time.monotonic()
            async for message in source:
                if message is not None:
                    yield encode(message)
                elif time.monotonic() - sent_at < HEARTBEAT_S:
                    continue
                else:
                    yield b": still here\n\n"
                sent_at = time.monotonic()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


def came_back_with(request: Request, after: int) -> int:
    """Where the client is: the id of the last message that it got, or what it asks for."""
    said = request.headers.get("last-event-id", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else after
