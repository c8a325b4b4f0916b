"""Requests straight to an ASGI application, with any head and any body, and all the routes that it has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.types import ASGIApp

HOST = "127.0.0.1:8000"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


class Answer(NamedTuple):
    status: int
    """0 for a WebSocket that was refused before it was open."""
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: ASGIApp,
    method: str,
    address: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    head_only: bool = False,
) -> Answer:
    """One request. `Host` is that of the gate under test unless given; `head_only` leaves once the status is known."""
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    if not any(name.lower() == "host" for name, _ in given):
        given.append(("host", HOST))
    if body and not any(name.lower() == "content-length" for name, _ in given):
        given.append(("content-length", str(len(body))))
    path, _, query = address.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
    return asyncio.run(_asked(app, scope, body, head_only))


async def _asked(app: ASGIApp, scope: dict[str, Any], body: bytes, head_only: bool) -> Answer:
    started, parts = asyncio.get_running_loop().create_future(), []
    left = [{"type": "http.request", "body": body, "more_body": False}]
    done = asyncio.Event()

    async def receive() -> Any:
        if left:
            return left.pop()
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.set_result(message)
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                done.set()

    running = asyncio.ensure_future(app(scope, receive, send))
    if head_only:
        await asyncio.wait([running, started], return_when=asyncio.FIRST_COMPLETED)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    else:
        await asyncio.wait_for(running, 120)
    message = await started
    pairs = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
    return Answer(message["status"], pairs, b"".join(parts))


def is_refused_websocket(app: ASGIApp, path: str, headers: Mapping[str, str]) -> bool:
    """Whether a WebSocket is closed before it was open."""
    said: list[str] = []
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "subprotocols": [],
        "headers": [(name.lower().encode(), value.encode()) for name, value in {"host": HOST, **headers}.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }

    async def receive() -> Any:
        return {"type": "websocket.connect" if not said else "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        said.append(message["type"])

    async def go() -> None:
        await asyncio.wait_for(app(scope, receive, send), 20)

    asyncio.run(go())
    return said[:1] == ["websocket.close"]


def paths_of(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every path of an application with the kind of its route, those of included routers and mounts, too."""
    for route in routes:
        kind = type(route).__name__
        inner = getattr(route, "effective_candidates", None)
        if inner is not None:
            yield from paths_of(inner() if callable(inner) else inner, prefix)
        elif getattr(route, "routes", None):
            yield from paths_of(route.routes, prefix + route.path)
        elif hasattr(route, "path"):
            original = getattr(route, "original_route", route)
            is_socket = "WebSocket" in kind or "WebSocket" in type(original).__name__
            yield prefix + route.path, "websocket" if is_socket else kind
