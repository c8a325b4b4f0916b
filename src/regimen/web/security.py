"""The middleware that every request passes, and that gives every answer its headers: see `gate` for the rules.

It is plain ASGI, so that static files, event streams and WebSockets pass it like all else. A browser that opens the
printed address, `/?token=...`, gets the cookie and is sent to `/`, so that no token stays in its address bar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regimen.web.bodies import MOST_JSON, MOST_UPLOAD, why_not_json
from regimen.web.gate import Gate, Headers, has_body, is_page
from regimen.web.refusal import Refusal, body_of
from regimen.web.unforeseen import write_report

_REST = "base-uri 'none'; object-src 'none'; form-action 'self'; img-src 'self' data: blob:"
PAGE = f"default-src 'self'; frame-ancestors 'none'; {_REST}"
"""The content security policy of every answer that names none of its own."""
DRAWING = f"default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; {_REST}"
"""For pages on which Plotly draws: it writes styles into the page. Scripts stay files of this server."""
REPORT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'self'"
"""For a report that a run left: no script at all, in a frame of our own pages."""

MOST_PATH, MOST_NAME = 2000, 200
"""Characters of a path, and bytes of a name in it: file systems take 255, and ours add endings."""
COOKIE_S = 30 * 24 * 3600
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|%00", re.IGNORECASE)


def protect(app: FastAPI, gate: Gate, home: Path) -> None:
    """Puts the gate before all routes of an application, also those added later. `home`: where unforeseen errors go."""
    app.add_middleware(Guard, gate=gate, home=home, uploads=lambda: list(_uploads(app)))


class Guard:
    """See the module; made by `protect`."""

    def __init__(self, app: ASGIApp, *, gate: Gate, home: Path, uploads: Callable[[], list[re.Pattern[str]]]) -> None:
        self.app, self.gate, self.home = app, gate, home
        self._find_uploads = uploads
        self._uploads: list[re.Pattern[str]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._http(scope, receive, _with_headers(send))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._why_not(scope) is not None:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
            return
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            write_report(self.home, _what(scope), error)
            raise

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        why_not = self._why_not(scope)
        if isinstance(why_not, Response):
            await why_not(scope, receive, send)
            return
        body = await _read(scope, receive)
        if isinstance(body, Refusal):
            await _answer(scope, body)(scope, receive, send)
        elif body is not None:
            await self._pass(scope, body, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """To the routes; an error that nobody thought of becomes an answer and a report."""
        begun = False

        async def noticing(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noticing)
        except Exception as error:
            name = write_report(self.home, _what(scope), error)
            if begun:
                raise
            text = f"an error of Regimen itself: {type(error).__name__}."
            refusal = Refusal(500, "", text, f"Please report it with the file {name} in the server's folder.")
            await _answer(scope, refusal)(scope, receive, send)

    def _why_not(self, scope: Scope) -> Response | None:
        """The answer of a request that goes no further: a refusal, or the cookie for who has the token."""
        headers, path = headers_of(scope), scope["path"]
        foreign = self.gate.why_not_from(headers)
        if foreign is None and scope["type"] == "http" and path == "/" and b"token=" in scope["query_string"]:
            return self._login(scope)
        if (wrong := _why_not_path(path, scope["query_string"].decode("latin-1"))) is not None:
            return _answer(scope, wrong)
        is_upload = _is_multipart(headers)
        refusal = self.gate.why_not(headers, path, takes_files=is_upload and self._takes_files(path))
        return None if refusal is None else _answer(scope, refusal)

    def _login(self, scope: Scope) -> Response:
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not any(name == "token" and self.gate.opens(value) for name, value in asked):
            return _answer(scope, Refusal(401, "token", "is not this server's.", "Use the address that it printed."))
        rest = urlencode([(name, value) for name, value in asked if name != "token"])
        answer = RedirectResponse(f"/?{rest}" if rest else "/", 303)
        answer.set_cookie(self.gate.cookie, self.gate.pass_, max_age=COOKIE_S, httponly=True, samesite="strict")
        return answer

    def _takes_files(self, path: str) -> bool:
        if self._uploads is None:
            self._uploads = self._find_uploads()
        return any(pattern.fullmatch(path) for pattern in self._uploads)


def _is_multipart(headers: Headers) -> bool:
    return headers.get("content-type", [""])[0].strip().lower().startswith("multipart/")


def _why_not_path(path: str, query: str) -> Refusal | None:
    """Names in a path may become names of files: nothing that a file system takes for more or less than a name."""
    if _CONTROL.search(path) or _CONTROL.search(query):
        return Refusal(422, "path", "holds a control character.", "Remove it.")
    if len(path) > MOST_PATH or any(len(name.encode("utf-8", "replace")) > MOST_NAME for name in path.split("/")):
        return Refusal(422, "path", "is too long.", f"A name has at most {MOST_NAME} bytes.")
    return None


def headers_of(scope: Scope) -> dict[str, list[str]]:
    """A request's headers, each with all its values."""
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _what(scope: Scope) -> str:
    return f"{scope.get('method', 'WebSocket')} {scope['path']}"


def _uploads(app: FastAPI) -> Iterator[re.Pattern[str]]:
    """The paths of the routes that say that they take files."""
    for path, operations in app.openapi()["paths"].items():
        for operation in operations.values():
            if "multipart/form-data" in operation.get("requestBody", {}).get("content", {}):
                yield re.compile("[^/]+".join(map(re.escape, re.split(r"\{[^}]*\}", path))))


def _answer(scope: Scope, refusal: Refusal) -> Response:
    """A refusal as JSON; a person who looks for a page, and is not known, gets a page."""
    wants_page = any("text/html" in value for value in headers_of(scope).get("accept", []))
    if refusal.status == 401 and wants_page and is_page(scope["path"]):
        return HTMLResponse(_UNKNOWN, 401)
    return JSONResponse(body_of(refusal), refusal.status)


_UNKNOWN = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Regimen</title>
<main><h1>This server does not know this browser</h1>
<p>Open the address that <code>regimen up</code> printed where it was started: it ends in <code>/?token=…</code>
and is needed once.</p></main></html>"""


# ------------------------------------------------------------------------------------------------ bodies


def _too_large(most: int) -> Refusal:
    return Refusal(413, "body", f"has more than {most} bytes.", "Send less at once.")


async def _read(scope: Scope, receive: Receive) -> Receive | Refusal | None:
    """Where routes read the body from: as it is, once it was looked at. None if who asks has left."""
    headers = headers_of(scope)
    is_upload = _is_multipart(headers)
    most = MOST_UPLOAD if is_upload else MOST_JSON
    length = headers.get("content-length", ["0"])[0]
    if not length.isdecimal():
        return Refusal(400, "Content-Length", "is no number.")
    if int(length) > most:
        return _too_large(most)
    if is_upload:
        return _bounded(receive, most)
    return await _whole(headers, receive, most) if has_body(headers) else receive


def _bounded(receive: Receive, most: int) -> Receive:
    seen = 0

    async def reading() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise HTTPException(413, f"The body has more than {most} bytes")
        return message

    return reading


async def _whole(headers: Headers, receive: Receive, most: int) -> Receive | Refusal | None:
    """A JSON body or a form is small: it is read at once, looked at, and handed on."""
    parts: list[bytes] = []
    size, goes_on = 0, True
    while goes_on:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size, goes_on = size + len(parts[-1]), message.get("more_body", False)
        if size > most:
            return _too_large(most)
    body = b"".join(parts)
    if body and "json" in headers.get("content-type", [""])[0].lower() and (why_not := why_not_json(body)):
        return why_not
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def reading() -> Message:
        return left.pop() if left else await receive()

    return reading


# ------------------------------------------------------------------------------------------------ answers


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            _add_headers(MutableHeaders(scope=message))
        await send(message)

    return sending


def _add_headers(headers: MutableHeaders) -> None:
    """What a route has set itself stays: the policy of a report, how long a file of ours may be kept."""
    headers.setdefault("content-security-policy", PAGE)
    headers["x-content-type-options"] = "nosniff"
    # Not `no-referrer`: with that, browsers send `Origin: null` with the forms of our own pages.
    headers["referrer-policy"] = "same-origin"
    headers["cross-origin-opener-policy"] = "same-origin"
    headers["cross-origin-resource-policy"] = "same-origin"
    if "frame-ancestors 'none'" in headers["content-security-policy"]:
        headers["x-frame-options"] = "DENY"
    headers.setdefault("cache-control", "no-store")
