"""What the API says of itself: the OpenAPI document made true for all routes, and a page to read and try it.

Every operation passes the same gate, so that its refusals are answers of every operation; a route need not name them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.types import Lifespan

import regimen
from regimen.web.api.wiring import Errors
from regimen.web.pages.layout import page as screen
from regimen.web.pages.layout import screens

OPENAPI = "/api/v1/openapi.json"
router = screens()

_ABOUT = """Runs, data sets, strategies and models of one server folder.

Bodies are JSON. Whatever is refused is answered with `{"status", "errors": [{"place", "message", "fix"}]}`: where,
what is wrong with the value, what to do. Times are seconds since 1970, UTC; a number that JSON cannot hold is null.
On this machine a program needs no token unless the server was started with `--token` or on another address; then send
`Authorization: Bearer TOKEN`. A browser has a cookie from the address that `regimen up` printed.
"""
_ALWAYS = {
    400: "The request is no HTTP that makes sense.",
    401: "This server does not know who asks.",
    403: "A page of another origin asks.",
    421: "The Host is no name of this server.",
    422: "Something in the request is wrong.",
}
_WITH_BODY = {413: "The body is too large.", 415: "The body is no JSON, or no file where one is taken."}
_METHODS = ("get", "post", "put", "patch", "delete")


class DescribedApp(FastAPI):
    """The application, with a document that names what the gate answers."""

    def __init__(self, lifespan: Lifespan[Any] | None = None) -> None:
        super().__init__(
            title="Regimen",
            description=_ABOUT,
            version=regimen.__version__,
            openapi_url=OPENAPI,
            docs_url=None,
            redoc_url=None,
            lifespan=lifespan,
            generate_unique_id_function=_operation_id,
        )

    def openapi(self) -> dict[str, Any]:
        """The document; made once, after all routes are there."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            whole = Errors.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(whole.pop("$defs"), Errors=whole)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for _, _, operation in operations(document):
                _complete(operation)
        return self.openapi_schema or {}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method in capitals and operation, of all that there are."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method.upper(), item[method]


def _complete(operation: dict[str, Any]) -> None:
    """Adds the gate's answers, and ours for what FastAPI would answer with a form of its own."""
    answers = operation["responses"]
    schema = {"$ref": "#/components/schemas/Errors"}
    for code, words in {**_ALWAYS, **(_WITH_BODY if "requestBody" in operation else {})}.items():
        known = answers.get(str(code), {})
        if not known or "HTTPValidationError" in json.dumps(known):
            answers[str(code)] = {"description": words, "content": {"application/json": {"schema": schema}}}
    operation["security"] = [{}, {"token": []}]


def _operation_id(route: APIRoute) -> str:
    """`runs_stop`: its group and its function."""
    group = str(route.tags[0]).replace(" ", "_") if route.tags else "regimen"
    return f"{group}_{route.name.strip('_')}"


# ------------------------------------------------------------------------------------------------ the page


class Parameter(NamedTuple):
    name: str
    where: str
    kind: str
    required: bool
    default: str
    description: str


class Operation(NamedTuple):
    """What the page shows of one."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    body_type: str
    """`application/json`, `multipart/form-data`, or empty."""
    body: str
    """An example of it."""
    body_schema: str
    answers: list[tuple[str, str]]


@router.get("/api/docs")
def docs(request: Request) -> HTMLResponse:
    """The page: plain HTML that reads without JavaScript; with it, every operation can be tried."""
    document = request.app.openapi()
    groups: dict[str, list[Operation]] = {}
    for path, method, operation in operations(document):
        group = (operation.get("tags") or ["others"])[0]
        groups.setdefault(group, []).append(_shown(path, method, operation, document))
    about = document["info"]["description"].strip().split("\n\n")
    return screen(request, "apidocs.html", title="API", groups=groups, about=about, openapi=OPENAPI)


def _shown(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> Operation:
    content = operation.get("requestBody", {}).get("content", {})
    body_type = next(iter(content), "")
    schema = _resolved(content.get(body_type, {}).get("schema", {}), document)
    return Operation(
        operation["operationId"],
        method,
        path,
        operation.get("summary", ""),
        operation.get("description", ""),
        [_parameter(one) for one in operation.get("parameters", [])],
        body_type,
        json.dumps(example(schema), indent=2) if body_type == "application/json" else "",
        json.dumps(schema, indent=2),
        [(code, answer["description"]) for code, answer in sorted(operation["responses"].items())],
    )


def _parameter(one: dict[str, Any]) -> Parameter:
    schema = one.get("schema", {})
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    words = [", ".join(map(str, kind["enum"])) if "enum" in kind else str(kind.get("type", "")) for kind in kinds]
    bounds = [
        f"{word} {schema[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in schema
    ]
    default = schema.get("default")
    return Parameter(
        one["name"],
        one["in"],
        ", ".join([" or ".join(words), *bounds]),
        one.get("required", False),
        "" if default is None else json.dumps(default),
        one.get("description") or schema.get("description", ""),
    )


def _resolved(schema: Any, document: dict[str, Any], depth: int = 0) -> Any:
    """A schema with what it refers to in its place, six deep."""
    if isinstance(schema, list):
        return [_resolved(inner, document, depth) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema and depth < 6:
        name = schema["$ref"].rpartition("/")[2]
        return _resolved(document["components"]["schemas"].get(name, {}), document, depth + 1)
    return {key: _resolved(value, document, depth) for key, value in schema.items()}


def example(schema: dict[str, Any]) -> Any:
    """A value of a schema: its own example or default where it has one."""
    if schema.get("examples"):
        return schema["examples"][0]
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(schema[key][0])
    if schema.get("type") == "object":
        return {name: example(inner) for name, inner in schema.get("properties", {}).items()}
    plain: dict[str, Any] = {"array": [], "string": "", "integer": schema.get("minimum", 0), "boolean": False}
    return plain.get(schema.get("type", ""), schema.get("minimum", 0.0) if schema.get("type") == "number" else None)
