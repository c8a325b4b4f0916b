"""What all screens share: templates, theme, navigation, style sheets and scripts, and how a refusal looks.

A screen is a file here with a `router` made by `screens()`, and a template that extends `base.html`:

    router = screens()

    @router.get("/runs")
    def shown(request: Request, parts: TheParts) -> Response:
        return page(request, "runs.html", title="Runs", rows=...)

A form posts to a route of its screen, which calls a service and answers `back(...)`: no screen needs JavaScript. A
`RegimenError` becomes a page that says what, where and what to do, with the right status.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.routing import Match

import regimen
from regimen.errors import Problem, RegimenError, SpecError
from regimen.report.style import STYLE
from regimen.web.pages import wording
from regimen.web.refusal import not_found, status_of
from regimen.web.security import DRAWING, PAGE, REPORT

_HERE = Path(__file__).parents[1]
_FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
FRAMED = {"content-security-policy": REPORT}
"""For a report, a page complete in itself."""

NAVIGATION = (
    ("/runs", "Runs", "runs"),
    ("/queue", "Queue", "queue"),
    ("/datasets", "Data", "data"),
    ("/models", "Models", "models"),
    ("/playground", "Playground", "chat"),
    ("/plugins", "Plug-ins", "chip"),
    ("/api/docs", "API", "code"),
)
"""Path, name and icon; a screen that the application does not have is left out."""


def page(request: Request, template: str, *, status: int = 200, draws: bool = False, **context: Any) -> HTMLResponse:
    """A whole screen. `draws`: its policy lets Plotly style what it draws."""
    theme = request.cookies.get("theme")
    body = (
        _templates()
        .get_template(template)
        .render(
            **context,
            request=request,
            theme=theme if theme in ("light", "dark") else "auto",
            navigation=[entry for entry in NAVIGATION if has_route(request, entry[0])],
            can_make_runs=has_route(request, "/new"),
            here=request.url.path,
            address=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            version=regimen.__version__,
        )
    )
    policy = DRAWING if draws else PAGE
    return HTMLResponse(body, status, {"content-security-policy": policy, "cache-control": "no-store"})


def back(path: str) -> RedirectResponse:
    """After a form: go and look."""
    return RedirectResponse(path, 303)


def has_route(request: Request, path: str) -> bool:
    """Whether the application has a screen at this path."""
    return _has_route(request.app, path)


@cache
def _has_route(app: Starlette, path: str) -> bool:
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": [], "query_string": b""}
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


# ------------------------------------------------------------------------------------------------ refusals


class _Screen(APIRoute):
    """A route whose refusals are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except RegimenError as error:
                return refused(request, error)
            except RequestValidationError as error:
                problems = [Problem(str(one["loc"][-1]), f"{one['msg']}.") for one in error.errors()]
                return refused(request, SpecError(problems))

        return answer


def screens() -> APIRouter:
    """A router for screens: refusals are pages, and OpenAPI does not list them."""
    return APIRouter(route_class=_Screen, include_in_schema=False)


def refused(request: Request, error: RegimenError) -> HTMLResponse:
    """What cannot be done, where, and what to do."""
    status = status_of(error)
    title = "Not found" if status == 404 else "That cannot be done"
    return page(request, "refused.html", status=status, title=title, problems=error.problems)


# ------------------------------------------------------------------------------------------------ files


router = screens()


@router.get("/assets/{version}/{name}")
def static_file(request: Request, version: str, name: str) -> Response:
    """A style sheet, script or picture of ours, or Plotly from its own package."""
    files = _static_files()
    if name not in files:
        raise not_found("file", name)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = _FOREVER if version == _version() else {"cache-control": "no-cache"}
    if name == "report.css":
        return Response(STYLE, media_type="text/css", headers=headers)
    return FileResponse(files[name], media_type=kind, headers=headers)


@router.get("/favicon.ico")
def favicon() -> RedirectResponse:
    return RedirectResponse(static("icon.svg"), 307)


@router.post("/theme")
def set_theme(theme: Annotated[Literal["light", "dark", "auto"], Form()], to: Annotated[str, Form()] = "/") -> Response:
    """Remembers the look in a cookie and goes back to where the button was pressed."""
    answer = back(to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/")
    answer.set_cookie("theme", theme, max_age=31536000, samesite="strict", httponly=True)
    return answer


def static(name: str) -> str:
    """The address of a static file; another one for each release, so that browsers keep it."""
    assert name in _static_files(), name
    return f"/assets/{_version()}/{name}"


@cache
def _static_files() -> Mapping[str, Path]:
    files = {path.name: path for path in (_HERE / "static").iterdir() if path.is_file()}
    found = find_spec("plotly")  # looked up, not imported: only its JavaScript is needed
    if found is not None and found.submodule_search_locations:
        files["plotly.min.js"] = Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return files | {"report.css": _HERE}


@cache
def _version() -> str:
    """Of all files that are served under `/assets`."""
    marks = [
        f"{name} {path.stat().st_size} {path.stat().st_mtime_ns}" for name, path in sorted(_static_files().items())
    ]
    return hashlib.sha256("\n".join([regimen.__version__, STYLE, *marks]).encode()).hexdigest()[:12]


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"static": static}
    found.filters |= wording.FILTERS
    return found
