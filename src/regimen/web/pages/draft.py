"""A run before it is started: its settings from an address, a recipe, another run, YAML or a filled form.

What differs from the defaults is all that a draft is. It fits into an address, so that a screen can be reloaded, sent
to a colleague, and gone back to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from regimen.document import parse_document
from regimen.errors import Problem, SpecError
from regimen.published import put
from regimen.web.pages.wording import flat
from regimen.web.refusal import Refusal, not_found
from regimen.web.services import datasets, forms, models, runs
from regimen.web.services.fields import Field
from regimen.web.services.models import MARKS
from regimen.web.services.parts import Parts
from regimen.web.services.recipes import Recipe, recipe

FIRST = "lora"
"""The recipe that a screen begins with when nothing is asked."""
COLUMN = "columns:"
"""Begins the name of an input that says which field of ours a column of the user's file is."""
COLUMNS_OF = "columns_of"
"""The input that says which file these columns are of."""
_DATA, _COLUMNS = "task.data.train", "task.data.columns"


# ------------------------------------------------------------------------------------------------ where they come from


def from_recipe(name: str, dataset: str = "", columns: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A recipe's settings, on an uploaded file if one is named. Raises `Refusal` 404."""
    found = recipe(name)
    if found is None:
        raise not_found("recipe", name)
    settings = copied(found.settings)
    if dataset:
        put(settings, _DATA, f"datasets/{dataset}")
        if columns:
            put(settings, _COLUMNS, dict(columns))
    return settings


def recipe_for(parts: Parts, dataset: str) -> Recipe:
    """The recipe that fits an uploaded file: by its layout."""
    layouts = datasets.get(parts, dataset).layouts
    found = recipe("dpo" if "preference" in layouts else FIRST)
    assert found is not None
    return found


def from_run(parts: Parts, run_id: str) -> dict[str, Any]:
    """What was passed to start another run. Raises `Refusal` 404."""
    return with_names(runs.settings_of(parts, run_id))


def on_model(parts: Parts, model_id: str) -> dict[str, Any]:
    """A run that begins with a model of the home. Raises `Refusal` 404, and 409 for an adapter without its base."""
    model = models.get(parts, model_id)
    if not (model.folder / MARKS["model"]).is_file():
        text = "is an adapter: a run begins with a whole model."
        raise Refusal(409, model_id, text, "Export it merged, and use that one.")
    settings = from_recipe(FIRST)
    put(settings, "task.model", str(Path(model.folder).relative_to(parts.home.folder)))
    return settings


def from_json(text: str) -> dict[str, Any]:
    """Out of an address. Raises `SpecError`."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SpecError(Problem("settings", "in the address are no JSON object.", "Begin anew with New run."))
    return with_names(found)


def from_yaml(text: str) -> dict[str, Any]:
    """As in RUN.yaml, without aliases: a few lines of them can stand for more than fits into memory.

    Raises `SpecError` with the line.
    """
    try:
        _raise_for_aliases(text)
        found = with_names(parse_document(text, "settings").data)
        json.dumps(found)
    except RecursionError:
        raise SpecError(Problem("settings", "are nested too deep.", "No setting is that deep.")) from None
    except TypeError:
        fix = "Put dates and times in quotes, and give keys that are texts."
        raise SpecError(Problem("settings", "hold a value that JSON has not.", fix)) from None
    return found


def _raise_for_aliases(text: str) -> None:
    with suppress(yaml.YAMLError):  # the reader of documents says it better
        for token in yaml.scan(text):
            if isinstance(token, yaml.AliasToken):
                place = f"settings:{token.start_mark.line + 1}"
                raise SpecError(Problem(place, f"holds an alias, *{token.value}.", "Write out what it stands for."))


def to_yaml(settings: Mapping[str, Any]) -> str:
    """As in RUN.yaml."""
    return yaml.safe_dump(copied(settings), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


# ------------------------------------------------------------------------------------------------ changing


def copied(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of its own all the way down."""
    found: dict[str, Any] = json.loads(json.dumps(settings))
    return found


def with_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Task and strategy as groups, where they are given by their names alone. Raises `SpecError` without them."""
    found = {key: value for key, value in settings.items() if key not in ("schema_version", "output")}
    problems = []
    for part in ("task", "strategy"):
        given = found.get(part)
        if isinstance(given, str):
            found[part] = given = {"name": given}
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
            problems.append(Problem(f"{part}.name", "is missing.", f"Write `{part}: {{name: ...}}`."))
    if problems:
        raise SpecError(problems)
    return found


def changes_of(text: str) -> object:
    """What a button for a fix holds. Raises `SpecError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise SpecError(Problem("fix", "is no JSON.", "Change it by hand.")) from None


def with_changes(settings: Mapping[str, Any], changes: object) -> dict[str, Any]:
    """With a finding's remedy: a list of `{"path", "value"}`. Raises `SpecError` for anything else."""
    found = copied(settings)
    try:
        assert isinstance(changes, list)
        for change in changes:
            put(found, str(change["path"]), change["value"])
    except (AssertionError, TypeError, KeyError, AttributeError):
        raise SpecError(Problem("fix", "cannot be applied to these settings.", "Change it by hand.")) from None
    return found


def with_choice(parts: Parts, settings: Mapping[str, Any], strategy: str, task: str) -> dict[str, Any]:
    """The same for another strategy or task: what that does not know is left out."""
    found: dict[str, Any] = {"task": {"name": task}, "strategy": {"name": strategy}}
    for field in forms.fields(parts, strategy, task):
        if field.when or field.is_fixed or field.type in ("switch", "mapping"):
            continue
        value = _at(settings, field.path)
        if value is not None and (not field.choices or value in field.choices):
            put(found, field.path, value)
    return found


def _at(settings: Any, path: str) -> Any:
    for key in path.split("."):
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings


# ------------------------------------------------------------------------------------------------ the form


def values_of(parts: Parts, settings: Mapping[str, Any]) -> tuple[list[Field], dict[str, str]]:
    """The fields of a form for these settings, and what stands in them.

    Raises `SpecError` for what no field can hold: then YAML is the way. Raises `Refusal` 404 for an unknown name.
    """
    fields = forms.fields(parts, settings["strategy"]["name"], settings["task"]["name"])
    settings = _plain(fields, settings)
    _raise_without_field(fields, settings)
    values = forms.to_form(fields, settings)
    _raise_without_field([field for field in fields if forms.is_shown(field, fields, values)], settings)
    return fields, values


def _plain(fields: Sequence[Field], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The one way in which the form says it: `sft` for `finetune/sft`, `{name: sgd}` for `sgd`."""
    found = copied(settings)
    for part in ("task", "strategy"):
        found[part]["name"] = found[part]["name"].rpartition("/")[2]
    for field in fields:
        group = field.path.removesuffix(".name")
        if group != field.path and isinstance(_at(found, group), str):
            put(found, group, {"name": _at(found, group)})
    return found


def _raise_without_field(fields: Sequence[Field], settings: Mapping[str, Any]) -> None:
    problems = [
        Problem(path, "has no field in the form.", "Take it out, or go on as YAML.")
        for path, value in flat(settings)
        if not any(_holds(field, path, value) for field in fields)
    ]
    if problems:
        raise SpecError(problems)


def _holds(field: Field, path: str, value: object) -> bool:
    """Whether a field says a setting; an empty group is said by nothing being said of it."""
    group = field.path.removesuffix(".*")
    if field.path == path or (value == {} and field.path.startswith(f"{path}.")):
        return True
    if field.type == "mapping":
        return path.startswith(f"{group}.") and path.removeprefix(f"{group}.").partition(".")[0] not in field.besides
    return field.type == "yaml" and path.startswith(f"{field.path}.")


def from_form(parts: Parts, form: Mapping[str, str]) -> dict[str, Any]:
    """The settings that a posted form means. Raises `SpecError` with the path of each wrong text."""
    values = with_columns(form)
    fields = forms.fields(parts, values.get("strategy.name", ""), values.get("task.name", ""))
    return _tidied(fields, forms.settings_from_form(fields, values))


def _tidied(fields: Sequence[Field], settings: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing: all that a form shows would be the same without."""
    wanted = _shown(fields, settings)
    for path, _ in reversed(list(flat(settings))):
        if path not in ("task.name", "strategy.name"):
            shorter = _without(settings, path.split("."))
            if _shown(fields, shorter) == wanted:
                settings = shorter
    return settings


def _shown(fields: Sequence[Field], settings: Mapping[str, Any]) -> dict[str, str]:
    values = forms.to_form(fields, settings)
    return {field.key: values[field.key] for field in fields if forms.is_shown(field, fields, values)}


def _without(settings: Mapping[str, Any], keys: list[str]) -> dict[str, Any]:
    """A copy without one path, and without the groups that are empty then."""
    key, *deeper = keys
    rest = {name: value for name, value in settings.items() if name != key}
    inner = _without(settings[key], deeper) if deeper else {}
    return {**settings, key: inner} if inner else rest


def with_columns(form: Mapping[str, str]) -> dict[str, str]:
    """A form's texts, with the choices of columns as the map that they stand for.

    They are of one file: where another one was chosen since, nothing is mapped.
    """
    values = dict(form)
    if COLUMNS_OF in values:
        same = values[COLUMNS_OF] == values.get(_DATA)
        chosen = {text: key.removeprefix(COLUMN) for key, text in form.items() if key.startswith(COLUMN) and text}
        values[_COLUMNS] = json.dumps(chosen if same else {})
    return values
