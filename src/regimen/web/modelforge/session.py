"""What somebody has chosen so far, step by step: a file for each browser, named by its cookie.

A program that keeps no cookies sees what was chosen last, by whomever: `curl` can look after a training that a page
started. What it chooses itself is kept for all such programs together.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from regimen.web.api.wiring import TheParts
from regimen.web.gate import is_browser
from regimen.web.home import Home
from regimen.web.modelforge.names import TaskName

COOKIE = "modelforge_session"
MOST = 200
"""Sessions that are kept; the oldest go."""
_LASTS_S = 30 * 24 * 3600
_PROGRAMS = "programs"
_ID = re.compile(r"[0-9a-f]{32}")


class Chosen(BaseModel, frozen=True):
    """By one browser."""

    task: TaskName | None = None
    selected_model: str | None = None
    is_custom_model: bool = False
    job_id: str | None = None
    """The run that it started last."""


class Session:
    """That of one request. `change` writes it, and gives a browser that has none its cookie."""

    def __init__(self, home: Home, connection: HTTPConnection, response: Response | None = None) -> None:
        self._folder, self._response = home.own / "modelforge", response
        cookie = connection.cookies.get(COOKIE, "")
        self._id = cookie if _ID.fullmatch(cookie) else ""
        self._is_browser = is_browser({name.lower(): [value] for name, value in connection.headers.items()})

    @property
    def chosen(self) -> Chosen:
        """Nothing, where nothing was chosen yet."""
        if self._id or self._is_browser:
            return _read(self._folder / f"{self._id}.json") if self._id else Chosen()
        there = _by_age(self._folder)
        return _read(there[-1]) if there else Chosen()

    def change(self, **values: Any) -> None:
        """Remembers some choices besides the others."""
        before = self.chosen
        if not self._id and self._is_browser:
            self._id = secrets.token_hex(16)
            assert self._response is not None
            self._response.set_cookie(COOKIE, self._id, max_age=_LASTS_S, httponly=True, samesite="strict")
        self._folder.mkdir(exist_ok=True)
        beside = self._folder / f".{secrets.token_hex(8)}"  # several requests may write at once; the last one stays
        beside.write_text(before.model_copy(update=values).model_dump_json(), encoding="utf-8")
        beside.replace(self._folder / f"{self._id or _PROGRAMS}.json")
        for old in _by_age(self._folder)[:-MOST]:
            old.unlink(missing_ok=True)


def _session(request: Request, response: Response, parts: TheParts) -> Session:
    return Session(parts.home, request, response)


TheSession = Annotated[Session, Depends(_session)]
"""A parameter of a route that gets the session of who asks."""


def _by_age(folder: Path) -> list[Path]:
    """The one that was changed last at the end."""
    aged = []
    for path in folder.glob("*.json"):
        with suppress(FileNotFoundError):
            aged.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(aged)]


def _read(path: Path) -> Chosen:
    try:
        return Chosen.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return Chosen()
