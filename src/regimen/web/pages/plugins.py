"""The screens of plug-ins: everything registered, each with its documentation and settings, and how to write one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import Response

from regimen.kinds import KINDS
from regimen.registry import Plugin
from regimen.web.api.wiring import TheParts
from regimen.web.pages.layout import page, screens
from regimen.web.services import plugins
from regimen.web.services.plugins import shown_file

router = screens()

TITLES = {
    "finetune": "Fine-tuning strategies",
    "benchmark": "Optimizer benchmark runners",
    "nas": "Architecture search samplers",
    "task": "Tasks",
    "tuning": "Tunings: which weights move",
    "space": "Search spaces",
    "searcher": "Searchers",
    "criterion": "Criteria",
}
_ABOUT = {
    "finetune": "strategy",
    "benchmark": "runner",
    "nas": "sampler",
}
"""What `regimen new` calls them."""


class Setting(NamedTuple):
    """One of a plug-in's settings."""

    name: str
    type: str
    default: object
    is_required: bool
    description: str


@router.get("/plugins")
def all_plugins(request: Request, parts: TheParts) -> Response:
    """By kind; files that cannot be used come first."""
    found = plugins.listed(parts)
    groups: dict[str, list[Plugin]] = {kind: [] for kind in TITLES if kind in KINDS}
    for one in found.plugins:
        groups.setdefault(one.kind, []).append(one)
    titles = {kind: TITLES.get(kind, kind) for kind in groups}
    return page(request, "plugins.html", title="Plug-ins", groups=groups, titles=titles, broken=found.broken)


@router.get("/plugins/{kind}/{name}")
def one_plugin(request: Request, parts: TheParts, kind: str, name: str) -> Response:
    """One, with what it says of itself."""
    plugin = plugins.found(parts, plugins.kinds_named(kind), name)
    described = plugins.described(parts, plugin)
    return page(
        request,
        "plugin.html",
        title=plugin.name,
        plugin=plugin,
        file=shown_file(parts.home, plugin.path),
        described=described,
        settings=list(_settings(described)),
        kind_title=TITLES.get(plugin.kind, plugin.kind),
        word=_ABOUT.get(plugin.kind, plugin.kind),
    )


def _settings(described: Mapping[str, Any]) -> Iterator[Setting]:
    for name, schema in described["schema"]["properties"].items():
        if name != "name":
            is_required = name in described["required"]
            description = " ".join(str(schema.get("description", "")).split())
            yield Setting(name, _type(schema), schema.get("default"), is_required, description)


def _type(schema: Mapping[str, Any]) -> str:
    """In a word or two."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(option) for option in schema["anyOf"]))
    named = schema.get("properties", {}).get("name", {})
    if "const" in named:
        return str(named["const"])
    words = {
        "object": "group",
        "array": "list",
        "string": "text",
        "integer": "whole number",
        "boolean": "true or false",
    }
    return words.get(str(schema.get("type", "any")), str(schema.get("type", "any")))
