"""The screen of a new run: a form made from the schemas, the same as YAML, what a check finds, and the start."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from regimen.errors import Problem, RegimenError, SpecError
from regimen.kinds import STRATEGIES
from regimen.registry import Plugin
from regimen.web.api.wiring import TheParts
from regimen.web.pages import draft, filling
from regimen.web.pages.layout import back, page, screens
from regimen.web.pages.looking import Looked, look
from regimen.web.pages.mapping import Mapped, mapped
from regimen.web.refusal import Refusal, status_of
from regimen.web.services import datasets, forms, plugins, runs
from regimen.web.services.fields import Field
from regimen.web.services.parts import Parts
from regimen.web.services.recipes import RECIPES

router = screens()

View = Literal["form", "yaml"]
_LONGEST_ADDRESS = 12_000
"""Characters of settings that are put into an address; longer ones are answered in place."""


@dataclass
class Screen:
    """What the screen shows. Of `values` and `text`, the one that the view needs is there."""

    view: View
    strategy: str
    task: str
    fields: Sequence[Field] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    problems: list[Problem] = field(default_factory=list)
    looked: Looked | None = None
    status: int = 200


@router.get("/new")
def new(
    request: Request,
    parts: TheParts,
    recipe: Annotated[str, Query(max_length=100)] = "",
    dataset: Annotated[str, Query(max_length=200)] = "",
    columns: Annotated[str, Query(max_length=4000)] = "",
    origin: Annotated[str, Query(alias="from", max_length=100)] = "",
    base: Annotated[str, Query(max_length=200)] = "",
    strategy: Annotated[str, Query(max_length=200)] = "",
    task: Annotated[str, Query(max_length=200)] = "",
    settings: Annotated[str, Query(max_length=2 * _LONGEST_ADDRESS)] = "",
    view: View = "form",
    check: bool = False,
) -> Response:
    """A draft, from the settings in the address or from where it says; `check`: and what stands against it."""
    if settings:
        found = draft.from_json(settings)
    elif origin:
        found = draft.from_run(parts, origin)
    elif base:
        found = draft.on_model(parts, base)
    elif strategy or task:
        found = draft.with_choice(parts, {}, strategy or "sft", task or "text")
    else:
        chosen = recipe or (draft.recipe_for(parts, dataset).name if dataset else draft.FIRST)
        found = draft.from_recipe(chosen, dataset, _columns(columns))
    return _shown(request, parts, _screen(parts, found, view, check))


@router.post("/new")
async def changed(request: Request, parts: TheParts) -> Response:
    """What a button of the form asks: check, start, apply a fix, show as YAML or as a form, take another strategy."""
    posted = {key: text for key, text in (await request.form()).multi_items() if isinstance(text, str)}
    return await run_in_threadpool(_changed, request, parts, posted)


def _changed(request: Request, parts: Parts, posted: Mapping[str, str]) -> Response:
    view: View = "yaml" if posted.get("view") == "yaml" else "form"
    asked = posted.get("do", "")
    try:
        settings = draft.from_yaml(posted.get("yaml", "")) if view == "yaml" else draft.from_form(parts, posted)
        if fix := posted.get("fix"):
            settings = draft.with_changes(settings, draft.changes_of(fix))
        elif asked == "choose":
            settings = draft.with_choice(parts, settings, posted.get("strategy", ""), posted.get("task", ""))
        elif asked == "start":
            return back(f"/runs/{runs.create(parts, settings).id}")
    except RegimenError as error:
        return _shown(request, parts, _as_typed(parts, view, posted, error))
    view = "yaml" if asked == "yaml" else "form" if asked == "form" else view
    check = bool(fix) or asked in ("", "check")
    address = urlencode({"settings": json.dumps(settings, separators=(",", ":")), "view": view})
    if len(address) < _LONGEST_ADDRESS:
        return back(f"/new?{address}{'&check=1' if check else ''}")
    return _shown(request, parts, _screen(parts, settings, view, check))


def _screen(parts: Parts, settings: Mapping[str, Any], view: View, check: bool) -> Screen:
    """A draft in a view; in YAML, with the reason, where the form has no field for something."""
    screen = Screen(view, settings["strategy"]["name"], settings["task"]["name"], text=draft.to_yaml(settings))
    if view == "form":
        try:
            screen.fields, screen.values = draft.values_of(parts, settings)
            screen.strategy, screen.task = screen.values["strategy.name"], screen.values["task.name"]
        except (SpecError, Refusal) as error:
            screen.view, screen.problems = "yaml", list(error.problems)
    if check:
        try:
            screen.looked = look(parts, settings)
        except RegimenError as error:
            screen.problems += error.problems  # what was asked: no refusal
    return screen


def _as_typed(parts: Parts, view: View, posted: Mapping[str, str], error: RegimenError) -> Screen:
    """The same again, wrong texts included, with what is wrong."""
    if view == "yaml":
        return Screen(view, "", "", text=posted.get("yaml", ""), problems=[*error.problems], status=status_of(error))
    values = draft.with_columns(posted)
    strategy, task = values.get("strategy.name", ""), values.get("task.name", "")
    fields = forms.fields(parts, strategy, task)
    return Screen(view, strategy, task, fields, values, problems=[*error.problems], status=status_of(error))


def _shown(request: Request, parts: Parts, screen: Screen) -> Response:
    known = plugins.listed(parts, (*STRATEGIES, "task"))
    shown = filling.sections(screen.fields, screen.values, screen.problems)
    return page(
        request,
        "new.html",
        status=screen.status,
        title="New run",
        screen=screen,
        sections=shown,
        problems=screen.problems,
        strategies=_families([one for one in known.plugins if one.kind != "task"]),
        tasks=sorted({one.name: one for one in known.plugins if one.kind == "task"}.values(), key=lambda one: one.name),
        broken=known.broken,
        recipes=RECIPES,
        files=datasets.listed(parts),
        mapped=_mapped(parts, screen),
    )


def _families(strategies: Sequence[Plugin]) -> dict[str, list[Plugin]]:
    """Strategies by what they are for."""
    titles = {"finetune": "Fine-tuning", "benchmark": "Optimizer benchmark", "nas": "Architecture search"}
    found: dict[str, list[Plugin]] = {}
    for one in strategies:
        found.setdefault(titles.get(one.kind, one.kind), []).append(one)
    return found


def _mapped(parts: Parts, screen: Screen) -> Mapped | None:
    """The columns of the chosen file, where it is an uploaded one."""
    file = screen.values.get("task.data.train", "")
    if not file.startswith("datasets/"):
        return None
    try:
        found = datasets.get(parts, file.removeprefix("datasets/"))
    except Refusal:
        return None
    return mapped(found, screen.values.get("task.data.columns", ""))


def _columns(text: str) -> dict[str, str]:
    """Out of an address. Raises `SpecError`."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise SpecError(Problem("columns", "in the address are no JSON object of names.", "Choose them again."))
    return found
