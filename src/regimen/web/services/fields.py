"""The fields of a form, made from JSON schemas: nested groups, plug-ins with settings of their own, and defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Type = Literal[
    "fixed", "text", "integer", "number", "boolean", "choice", "plugin", "switch", "dataset", "yaml", "mapping"
]
Group = Literal["model", "data", "how", "budget", "advanced"]


class _Absent:
    """There is no value: what is required has none before somebody gives it."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()

_MODEL = ("model", "revision", "template", "provider", "supernet", "space", "net")
_NOT_ASKED = ("schema_version", "output", "task.trust_remote_code")
"""Settings that the server decides."""


@dataclass(frozen=True)
class Field:
    """One thing to fill in."""

    key: str
    """Its name in a form. The path, but for two plug-ins of one group that mean different things by one word."""
    path: str
    """Where it stands in the settings; `strategy.optimizer.*` stands for all that has no field of its own there."""
    label: str
    type: Type
    """`fixed`: not to be changed in this form; `choice`: one of `choices`; `plugin`: also one of them, and it decides
    what else is shown; `switch`: whether a group is there at all; `dataset`: the path of an uploaded file; `yaml`: a
    list, a group or both, as in RUN.yaml; `mapping`: more settings, `key: value` each.
    """
    group: Group
    description: str
    nullable: bool
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    """It must be more than this."""
    below: float | None = None
    when: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(key, texts): shown only where that field has one of these texts."""
    defaults: tuple[Any, ...] = (ABSENT,)
    """What it is if settings stop at the outermost group, at the next one, and so on; ABSENT: the next one knows."""
    besides: tuple[str, ...] = ()
    """Of a `mapping`: the names that have fields of their own."""

    @property
    def default(self) -> Any:
        """What it is if nothing is said; ABSENT if something must be."""
        return self.default_within(0)

    @property
    def required(self) -> bool:
        return self.default is ABSENT

    @property
    def is_fixed(self) -> bool:
        """Task and strategy by name: not to be changed, and always there."""
        return self.type == "fixed"

    @property
    def top(self) -> str:
        """The outermost group that has a default as a whole: given together, or not at all."""
        parts = self.path.split(".")
        return ".".join(parts[:2]) if parts[0] in ("task", "strategy") else parts[0]

    def default_within(self, depth: int) -> Any:
        """What it is in settings that give `depth` of the groups around it, and it not."""
        return next((value for value in self.defaults[depth:] if value is not ABSENT), ABSENT)


def fields_of(schemas: Mapping[str, Any]) -> list[Field]:
    """`{"task": schema, "strategy": schema, "run": schema}`, none of them with `$ref`, as fields in order."""
    found: list[Field] = []
    for part in ("task", "strategy"):
        name = schemas[part]["properties"]["name"]["default"]
        found.append(_leaf(f"{part}.name", {"description": f"the {part}"}, (ABSENT, name), (), type_="fixed"))
        found += _of_group(schemas[part], part, (ABSENT,), ())
    found += _of_group(schemas["run"], "", (), ())
    return _merged([field for field in found if field.path not in _NOT_ASKED])


def _of_group(schema: Mapping[str, Any], path: str, inherited: tuple[Any, ...], when: Any) -> Iterator[Field]:
    """The fields of a group; `inherited` is what each group around it has as default for the whole of it."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    for name, inner in properties.items():
        if "const" in inner:
            continue
        own = inner.get("default", ABSENT)
        if path == "" and name == "budget":
            own = None  # unset means more than its default: a test problem's own number of epochs
        passed = (*(_inside(default, name) for default in inherited), own)
        yield from _of_property(inner, f"{path}.{name}" if path else name, passed, when)
    if schema.get("additionalProperties") is True:
        more = tuple(
            {key: value for key, value in default.items() if key not in properties}
            if isinstance(default, Mapping)
            else ABSENT
            for default in inherited
        )
        description = "more of its own settings, as `key: value`"
        field = _leaf(f"{path}.*", {"description": description}, (*more, {}), when, type_="mapping")
        yield dataclasses.replace(field, besides=tuple(properties))


def _of_property(schema: Mapping[str, Any], path: str, defaults: tuple[Any, ...], when: Any) -> Iterator[Field]:
    options = schema.get("anyOf", [schema])
    others = [option for option in options if option.get("type") != "null"]
    nullable = len(others) < len(options)
    if others and all(_is_plugin(option) for option in others):
        yield from _of_plugins(schema, others, path, defaults, when, nullable)
    elif len(others) == 1 and others[0].get("properties"):
        if nullable:
            there = tuple(value if value is ABSENT else value is not None for value in defaults)
            yield _leaf(path, schema, there, when, type_="switch")
            when = (*when, (path, ("true",)))
        yield from _of_group(others[0], path, defaults, when)
    else:
        yield _leaf(path, {**schema, **(others[0] if len(others) == 1 else {})}, defaults, when, nullable=nullable)


def _of_plugins(
    schema: Mapping[str, Any],
    options: list[Mapping[str, Any]],
    path: str,
    defaults: tuple[Any, ...],
    when: Any,
    nullable: bool,
) -> Iterator[Field]:
    """The choice of one, and the settings of each, shown where it is chosen."""
    names: list[str] = []
    for option in options:
        name = option["properties"]["name"]
        names += name.get("enum") or [name["const"]]
    chosen = tuple(_name_in(default) for default in defaults)
    field = _leaf(f"{path}.name", schema, chosen, when, type_="plugin", nullable=nullable)
    yield dataclasses.replace(field, choices=tuple(names))
    for option in options:
        if "const" in (named := option["properties"]["name"]):
            own = tuple(default if _name_in(default) == named["const"] else ABSENT for default in defaults)
            yield from _of_group(option, path, own, (*when, (f"{path}.name", (named["const"],))))


def _is_plugin(schema: Mapping[str, Any]) -> bool:
    name = schema.get("properties", {}).get("name", {})
    return "const" in name or (list(schema.get("properties", {})) == ["name"] and "enum" in name)


def _name_in(default: Any) -> Any:
    return default.get("name", ABSENT) if isinstance(default, Mapping) else default


def _inside(default: Any, name: str) -> Any:
    return default.get(name, ABSENT) if isinstance(default, Mapping) else ABSENT


def _leaf(
    path: str,
    schema: Mapping[str, Any],
    defaults: tuple[Any, ...],
    when: Any,
    *,
    type_: Type | None = None,
    nullable: bool = False,
) -> Field:
    return Field(
        key=path,
        path=path,
        label=_label(path),
        type=type_ or _type_of(path, schema),
        group=_group_of(path),
        description=" ".join(str(schema.get("description", "")).split()),
        nullable=nullable,
        choices=tuple(schema.get("enum", ())),
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        above=schema.get("exclusiveMinimum"),
        below=schema.get("exclusiveMaximum"),
        when=tuple(when),
        defaults=defaults,
    )


def _label(path: str) -> str:
    """`batch size`, `tuning r`, `checkpoint every`: what it is within its group."""
    words = path.removesuffix(".name").removesuffix(".*").split(".")
    return " ".join(words[1:] if words[0] in ("task", "strategy") and len(words) > 1 else words).replace("_", " ")


def _type_of(path: str, schema: Mapping[str, Any]) -> Type:
    if path in ("task.data.train", "task.data.valid", "task.data.test"):
        return "dataset"
    if "enum" in schema:
        return "choice"
    types: dict[str, Type] = {"boolean": "boolean", "integer": "integer", "number": "number", "string": "text"}
    return "yaml" if "anyOf" in schema and "type" not in schema else types.get(str(schema.get("type")), "yaml")


def _group_of(path: str) -> Group:
    first, _, rest = path.partition(".")
    if first == "task":
        return "model" if rest.partition(".")[0] in _MODEL else "data"
    if first == "strategy":
        return "how"
    return "budget" if first in ("budget", "seed") else "advanced"


def _merged(found: list[Field]) -> list[Field]:
    """One field for what several plug-ins of a group have alike, and a key of its own for what they have not."""
    kept: dict[str, Field] = {}
    for field in found:
        earlier = kept.get(field.key)
        if earlier is None:
            kept[field.key] = field
        elif dataclasses.replace(field, when=(), defaults=()) == dataclasses.replace(
            earlier, when=(), defaults=()
        ) and (
            field.when[:-1] == earlier.when[:-1]
            and field.when[-1][0] == earlier.when[-1][0]
            and field.default == earlier.default
            and field.defaults[-1] == earlier.defaults[-1]
        ):
            key, chosen = earlier.when[-1]
            both = (*earlier.when[:-1], (key, (*chosen, *field.when[-1][1])))
            longer = max(earlier.defaults, field.defaults, key=lambda each: sum(one is not ABSENT for one in each))
            kept[field.key] = dataclasses.replace(earlier, when=both, defaults=longer)
        else:
            own = f"{field.path}@{field.when[-1][1][0]}"
            kept[own] = dataclasses.replace(field, key=own)
    return list(kept.values())
