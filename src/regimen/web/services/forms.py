"""A run's settings as one flat list of form fields, made from the schemas; and a filled form as settings again.

fields = fields_of(schemas)                     what can be set, each with type, default, bounds, description
values = to_form(fields, settings)              {"strategy.batch_size": "8", ...}: all a form holds is text
settings = settings_from_form(fields, values)   only what differs from the defaults

Settings, then form, then settings again is the identity: 0, false, empty and null are values like any other. Empty text
is null where null is allowed, and `""` is the empty text there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regimen.errors import Problem, SpecError
from regimen.published import put
from regimen.web.services.fields import ABSENT, Field, fields_of
from regimen.web.services.formtext import read, written
from regimen.web.services.parts import Parts
from regimen.web.services.plugins import form_schemas

__all__ = ["Field", "fields", "fields_of", "is_shown", "settings_from_form", "to_form", "written"]


def fields(parts: Parts, strategy: str, task: str) -> list[Field]:
    """What can be set for a strategy on a task. Raises `Refusal` 404 for a name that is not registered."""
    return fields_of(form_schemas(parts, strategy, task))


def to_form(fields: Sequence[Field], settings: Mapping[str, Any]) -> dict[str, str]:
    """The texts of a form that stands for these settings (as passed, or resolved): one for each field's key."""
    return {field.key: written(field, _value_in(settings, field)) for field in fields}


def settings_from_form(fields: Sequence[Field], values: Mapping[str, str]) -> dict[str, Any]:
    """The settings that a filled form means: what differs from the defaults, and the names of task and strategy.

    A key that is not there means the default, and one that is no field's is no matter. Raises `SpecError` with the path
    of every text that is not of its field's type.
    """
    problems: list[Problem] = []
    given: dict[str, Any] = {}
    for field in fields:
        if is_shown(field, fields, values):
            try:
                given[field.key] = read(field, values[field.key]) if field.key in values else field.default
            except SpecError as error:
                problems += error.problems
    if problems:
        raise SpecError(problems)
    shown = [field for field in fields if field.key in given]
    changed = {field.top for field in shown if given[field.key] != field.default or field.is_fixed}
    settings: dict[str, Any] = {}
    for field in shown:
        if field.top in changed:
            _put(settings, field, given[field.key])
    return settings


def is_shown(field: Field, fields: Sequence[Field], values: Mapping[str, str]) -> bool:
    """Whether the choices that a field belongs to are made: LoRA's rank where `strategy.tuning.name` is lora."""
    known = {one.key: one for one in fields}
    return all(
        values.get(key, written(known[key], known[key].default)) in chosen and is_shown(known[key], fields, values)
        for key, chosen in field.when
    )


def _put(settings: dict[str, Any], field: Field, value: Any) -> None:
    """An unset required one stays out, and so does what is only there for the form."""
    if value is ABSENT:
        return
    if field.type == "switch":
        put(settings, field.path, {} if value else None)
    elif field.type == "mapping":
        for name, more in (value or {}).items():
            put(settings, f"{field.path.removesuffix('.*')}.{name}", more)
    elif field.type == "plugin":
        put(settings, field.path.removesuffix(".name"), None if value is None else {"name": value})
    else:
        put(settings, field.path, value)


def _value_in(settings: Mapping[str, Any], field: Field) -> Any:
    """What settings say for a field; what they do not say is the default of the innermost group that they give."""
    keys, here = field.path.removesuffix(".*").split("."), settings
    if field.type == "plugin":
        keys = keys[:-1]
    for depth, key in enumerate(keys):
        if not isinstance(here, Mapping) or key not in here:
            return field.default_within(depth)
        here = here[key]
    if field.type == "switch":
        return here is not None
    if field.type == "plugin":
        return here.get("name") if isinstance(here, Mapping) else here
    if field.type == "mapping":
        return {name: more for name, more in here.items() if name not in field.besides}
    return here
