"""Routes of what can be chosen: strategies, tasks, all other plug-ins, their schemas, forms, recipes, estimates."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from regimen.kinds import KINDS, STRATEGIES
from regimen.registry import Plugin
from regimen.web.api.runbodies import Settings
from regimen.web.api.wiring import OneError, TheParts, refusals
from regimen.web.services import estimates, forms, plugins
from regimen.web.services.fields import ABSENT
from regimen.web.services.parts import Parts
from regimen.web.services.plugins import Listed, shown_file
from regimen.web.services.recipes import RECIPES

router = APIRouter(tags=["plug-ins"])


class PluginInfo(BaseModel):
    """One that is registered."""

    kind: str
    name: str
    qualified: str = Field(description="with the family, where it has one")
    family: str
    origin: str = Field(description="built in, folder, or the package that brings it")
    summary: str
    file: str


class Broken(BaseModel):
    """A file that cannot be used; the others can."""

    file: str
    problem: OneError


class PluginList(BaseModel):
    plugins: list[PluginInfo]
    broken: list[Broken]


class Pairing(BaseModel):
    task: str
    why_not: str | None = Field(description="why it cannot be trained; null: nothing stands against it so far")


class PluginDetail(PluginInfo):
    """One with its settings."""

    doc: str
    papers: list[str] = Field(description="arXiv numbers that its documentation names")
    json_schema: dict[str, Any] = Field(description="of its settings, as JSON schema")
    defaults: dict[str, Any]
    required: list[str] = Field(description="settings without a default")
    layouts: list[str] = Field(description="layouts of rows that it trains, where that matters")
    resume: str | None = Field(description="of a strategy: exact, or restart")


class StrategyDetail(PluginDetail):
    trains: list[Pairing] = Field(description="every task")


class FormField(BaseModel):
    """One thing to fill in; see `regimen.web.services.fields`."""

    key: str
    path: str
    label: str
    type: str
    group: str
    description: str
    nullable: bool
    required: bool
    choices: list[Any]
    default: Any
    text: str = Field(description="the default as a form's text")
    minimum: float | None
    maximum: float | None
    above: float | None
    below: float | None
    when: list[tuple[str, list[str]]] = Field(description="shown only where these fields have one of these texts")


class Form(BaseModel):
    fields: list[FormField]


class RecipeInfo(BaseModel):
    name: str
    title: str
    description: str
    needs: str = Field(description="the layout of the data set to give; empty: none")
    settings: dict[str, Any]


class RecipeList(BaseModel):
    recipes: list[RecipeInfo]


class Memory(BaseModel):
    """Bytes at the fullest moment, and numbers of parameters."""

    runtime: int
    weights: int
    optimizer: int
    gradients: int
    activations: int
    total: int
    parameters: int
    trained: int


class Estimate(BaseModel):
    """What a run will take; null where it cannot be told before it began."""

    memory: Memory | None
    free_memory: int
    steps: int | None
    tokens: int | None = Field(description="read while training")
    seconds: float | None = Field(description="at the pace of the last completed run that was like it")
    measured_on: str | None = Field(description="the id of that run")


@router.get("/strategies", response_model=PluginList, responses=refusals(409))
def strategies(parts: TheParts) -> PluginList:
    """Of all families."""
    return _list(parts, plugins.listed(parts, STRATEGIES))


@router.get("/strategies/{name}", response_model=StrategyDetail, responses=refusals(404, 409, 422, 424))
def strategy(parts: TheParts, name: str) -> dict[str, Any]:
    """One strategy, with the tasks that it can train."""
    plugin = plugins.found(parts, STRATEGIES, name)
    return {**_detail(parts, plugin), "trains": plugins.trains(parts, plugin)}


@router.get("/strategies/{name}/schema", response_model=dict[str, Any], responses=refusals(404, 409, 422, 424))
def strategy_schema(parts: TheParts, name: str) -> dict[str, Any]:
    """The JSON schema of its settings."""
    return _schema(parts, plugins.found(parts, STRATEGIES, name))


@router.get("/tasks", response_model=PluginList, responses=refusals(409))
def tasks(parts: TheParts) -> PluginList:
    """Of all families."""
    return _list(parts, plugins.listed(parts, ("task",)))


@router.get("/tasks/{name}", response_model=PluginDetail, responses=refusals(404, 409, 422, 424))
def task(parts: TheParts, name: str) -> dict[str, Any]:
    """One task."""
    return _detail(parts, plugins.found(parts, ("task",), name))


@router.get("/tasks/{name}/schema", response_model=dict[str, Any], responses=refusals(404, 409, 422, 424))
def task_schema(parts: TheParts, name: str) -> dict[str, Any]:
    """The JSON schema of its settings."""
    return _schema(parts, plugins.found(parts, ("task",), name))


@router.get("/plugins", response_model=PluginList, responses=refusals(409))
def everything(parts: TheParts) -> PluginList:
    """All kinds."""
    return _list(parts, plugins.listed(parts))


@router.get("/plugins/{kind}", response_model=PluginList, responses=refusals(404, 409, 422))
def of_kind(parts: TheParts, kind: str) -> PluginList:
    """One kind: finetune, benchmark, nas, strategy (all three), task, tuning, space, searcher, criterion, ..."""
    return _list(parts, plugins.listed(parts, plugins.kinds_named(kind)))


@router.get("/plugins/{kind}/{name}", response_model=PluginDetail, responses=refusals(404, 409, 422, 424))
def plugin(parts: TheParts, kind: str, name: str) -> dict[str, Any]:
    """One plug-in of any kind."""
    return _detail(parts, plugins.found(parts, plugins.kinds_named(kind), name))


@router.get("/schema", response_model=dict[str, Any], responses=refusals(409, 424))
def schema(parts: TheParts) -> dict[str, Any]:
    """The JSON schema of a RUN.yaml with every task and every strategy."""
    return plugins.run_schema(parts)


@router.get("/form", response_model=Form, responses=refusals(404, 409, 422, 424))
def form(parts: TheParts, strategy: str, task: str) -> Form:
    """What can be set for a strategy on a task, as a flat list of fields."""
    return Form(fields=[_field(field) for field in forms.fields(parts, strategy, task)])


@router.get("/recipes", response_model=RecipeList)
def recipes() -> dict[str, Any]:
    """Ready settings to start from."""
    return {"recipes": [recipe._asdict() for recipe in RECIPES]}


@router.post("/estimate", response_model=Estimate, responses=refusals(409, 422, 424))
def estimate(parts: TheParts, body: Settings) -> dict[str, Any]:
    """Memory and steps of a run. Takes about a second."""
    return estimates.estimate(parts, body.settings)


def _list(parts: Parts, found: Listed) -> PluginList:
    broken = [Broken(file=one.file, problem=OneError(**one.problem._asdict())) for one in found.broken]
    return PluginList(plugins=[PluginInfo(**_info(parts, plugin)) for plugin in found.plugins], broken=broken)


def _info(parts: Parts, plugin: Plugin) -> dict[str, Any]:
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "qualified": plugin.qualified,
        "family": KINDS[plugin.kind].family,
        "origin": plugin.origin,
        "summary": plugin.summary,
        "file": shown_file(parts.home, plugin.path),
    }


def _detail(parts: Parts, plugin: Plugin) -> dict[str, Any]:
    described = plugins.described(parts, plugin)
    return {**_info(parts, plugin), **described, "json_schema": described["schema"]}


def _schema(parts: Parts, plugin: Plugin) -> dict[str, Any]:
    found: dict[str, Any] = plugins.described(parts, plugin)["schema"]
    return found


def _field(field: forms.Field) -> FormField:
    values = {name: getattr(field, name) for name in FormField.model_fields if name not in ("default", "text", "when")}
    default = None if field.default is ABSENT else field.default
    when = [(key, list(texts)) for key, texts in field.when]
    return FormField(**values, default=default, text=forms.written(field, field.default), when=when)
