"""Settings that are plug-ins: `{name: lora, r: 16}` is checked against the settings of the plug-in it names."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from regimen.complaints import shown
from regimen.errors import SpecError, StrategyFailed
from regimen.kinds import KINDS, STRATEGIES
from regimen.registry import Plugin, find, plugins
from regimen.settings import PluginSettings
from regimen.spec import RunSpec


class PluginOf:
    """Marks a setting whose value is a plug-in of one of `kinds`: `tuning: Annotated[Choice, PluginOf("tuning")]`."""

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds

    def check(self, value: Any) -> Any:
        """The settings model of the named plug-in, filled. What is wrong inside is reported with its own path."""
        if isinstance(value, BaseModel):
            value = value.model_dump()
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            named = value.get("name") if isinstance(value, dict) else value
            problem = f"is {shown(named)}; expected the name of a {KINDS[self.kinds[0]].name}."
            context: dict[str, Any] = {"problem": problem, "fix": f"Write `name: ...`; {self._known()}"}
            raise PydanticCustomError("plugin", "{problem}", context)
        try:
            plugin = find(value["name"], self.kinds)
        except SpecError as error:
            found = error.problems[0]
            text = f"is {value['name']!r}; {found._replace(fix='')}"
            context = {"problem": text, "fix": found.fix, "keys": ("name",)}
            raise PydanticCustomError("plugin", "{problem}", context) from error
        model = plugin.settings()
        try:
            return model.model_validate({**value, "name": plugin.name})
        except ValidationError as error:
            raise PydanticCustomError("nested", "{nested}", {"nested": error, "model": model}) from None

    def _known(self) -> str:
        return "known: " + ", ".join(plugin.name for kind in self.kinds for plugin in plugins(kind, None, [])) + "."

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        dump = core_schema.plain_serializer_function_ser_schema(
            lambda value, info: value.model_dump(mode=info.mode, exclude_unset=info.exclude_unset), info_arg=True
        )
        return core_schema.no_info_plain_validator_function(self.check, serialization=dump)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        writing = _WRITING.get() or _Writing(frozenset(), {})
        if writing.around.intersection(self.kinds):  # a plug-in that takes one of its own kind: names will do
            names = [plugin.name for kind in self.kinds for plugin in plugins(kind, None, [])]
            return {"type": "object", "properties": {"name": {"type": "string", "enum": names}}, "required": ["name"]}
        key = (self.kinds, writing.around)
        if key not in writing.known:
            token = _WRITING.set(_Writing(writing.around | {*self.kinds}, writing.known))
            try:
                writing.known[key] = self._schemas()
            finally:
                _WRITING.reset(token)
        models = writing.known[key]
        return {"anyOf": models} if len(models) != 1 else models[0]

    def _schemas(self) -> list[JsonSchemaValue]:
        return [
            self_contained(model.model_json_schema())
            for kind in self.kinds
            for plugin in plugins(kind, None, [])
            if (model := _settings_of(plugin)) is not None
        ]


class _Writing(NamedTuple):
    """A schema that is being written: the kinds around the one that is next, and what is known already."""

    around: frozenset[str]
    known: dict[tuple[tuple[str, ...], frozenset[str]], list[JsonSchemaValue]]


_WRITING: ContextVar[_Writing | None] = ContextVar("writing", default=None)


def _settings_of(plugin: Plugin) -> type[PluginSettings] | None:
    """None for a file that does not run: a schema lists what can be chosen, and `find` says what is wrong with it."""
    try:
        return plugin.settings()
    except StrategyFailed:
        return None


def self_contained(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema with its `$defs` put where they are referred to, so that it can stand inside another schema.

    A definition that holds itself is `{"type": "object"}` there.
    """
    definitions: Mapping[str, Any] = schema.get("$defs", {})

    def resolved(value: Any, within: tuple[str, ...]) -> Any:
        if isinstance(value, list):
            return [resolved(entry, within) for entry in value]
        if not isinstance(value, Mapping):
            return value
        name = str(value.get("$ref", "")).removeprefix("#/$defs/")
        rest = {key: resolved(entry, within) for key, entry in value.items() if key not in ("$ref", "$defs")}
        if not name:
            return rest
        if name in within:
            return {"type": "object"} | rest
        return resolved(definitions[name], (*within, name)) | rest

    made: dict[str, Any] = resolved(schema, ())
    return made


class CheckedSpec(RunSpec):
    """A run whose task and strategy are checked against the plug-ins they name."""

    task: Annotated[PluginSettings, PluginOf("task")]
    """model, data and yardstick"""
    strategy: Annotated[PluginSettings, PluginOf(*STRATEGIES)]
    """how it is trained"""
