"""The settings model of a plug-in, made from what its class declares."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from regimen.errors import Problem, StrategyFailed
from regimen.spec import Choice
from regimen.syntax import syntax_tree


class PluginSettings(Choice):
    """The checked settings of one plug-in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plugin: ClassVar[Any]
    """The `registry.Plugin` that they are of."""


RESERVED = frozenset({"name", "family", "resume", "settings"})
"""Class attributes of the contract itself: never settings."""


def settings_model(cls: type, base: type, *, name: str, path: Path) -> type[PluginSettings]:
    """A frozen pydantic model of the settings of `cls`, a class of the kind whose base class is `base`.

    A class that declares settings (annotated class attributes) has those and what its bases declare. A class that
    declares none has its `__init__` parameters, and besides whatever its source reads from `config`:
    `config.get("lora_r", 64)` makes `lora_r` a setting without a default of ours, so that the file's own default holds.
    """
    own = {attribute for part in cls.__mro__ if part not in base.__mro__ for attribute in _annotated(part)}
    fields: dict[str, Any] = dict(_fields(cls))
    if not own and not _is_subclass_in_source(cls, base):
        fields |= {p.name: _from_parameter(p) for p in init_parameters(cls)}
        for word in sorted(read_from_config(path) - fields.keys() - RESERVED):
            fields[word] = (Any, Field(default=None, description=f"read by {path.name} as config[{word!r}]"))
    for parameter in _of_method(cls, base):
        fields.setdefault(parameter.name, _from_parameter(parameter))
    fields["name"] = (Literal[name], Field(default=name, description="the plug-in"))
    doc = inspect.getdoc(cls) or ""
    model: type[PluginSettings] = create_model(
        f"{cls.__name__}Settings", __base__=PluginSettings, __doc__=doc, **fields
    )
    return model


def declares_settings(cls: type, base: type) -> bool:
    """Whether the class says what its settings are; if not, it reads a `config` that holds only what the user gave."""
    return any(_annotated(part) for part in cls.__mro__ if part not in base.__mro__) or _is_subclass_in_source(
        cls, base
    )


def _is_subclass_in_source(cls: type, base: type) -> bool:
    # An adopted class has the base only because the registry put it there, as the second of exactly two bases.
    adopted = len(cls.__bases__) == 2 and cls.__bases__[1] is base and not issubclass(cls.__bases__[0], base)
    return not adopted


def init_parameters(cls: type) -> list[inspect.Parameter]:
    """What `cls(...)` takes, without `self` and the catch-alls."""
    if "__init__" not in {name for part in cls.__mro__[:-1] for name in vars(part)}:
        return []
    parameters = list(inspect.signature(cls).parameters.values())
    return [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _of_method(cls: type, base: type) -> list[inspect.Parameter]:
    """What the method that the family names in `parameters_from` takes beyond what the family gives it."""
    method: str = getattr(base, "parameters_from", "")
    if not method:
        return []
    given = {*inspect.signature(getattr(base, method)).parameters, *base.given_parameters}  # type: ignore[attr-defined]
    position = len(
        [p for p in inspect.signature(getattr(base, method)).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    )
    parameters = list(inspect.signature(getattr(cls, method)).parameters.values())[position:]
    return [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given]


def read_from_config(path: Path) -> set[str]:
    """The names that a source file reads as `config["x"]`, `config.get("x")` or `config.x`."""
    try:
        tree = syntax_tree(path.read_text(encoding="utf-8-sig"))
    except (OSError, SyntaxError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _is_config(node.value) and isinstance(node.slice, ast.Constant):
            found.add(str(node.slice.value))
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and _is_config(node.func.value)
        ):
            found |= {str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)}
        elif (
            isinstance(node, ast.Attribute)
            and _is_config(node.value)
            and node.attr not in ("get", "items", "keys", "values")
        ):
            found.add(node.attr)
    return found


def _is_config(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "config"


def _annotated(cls: type) -> list[str]:
    hints = inspect.get_annotations(cls)
    return [
        name
        for name, hint in hints.items()
        if not name.startswith("_") and name not in RESERVED and not _is_class_variable(hint)
    ]


def _is_class_variable(hint: object) -> bool:
    return get_origin(hint) is ClassVar or (isinstance(hint, str) and hint.startswith(("ClassVar", "typing.ClassVar")))


def _fields(cls: type) -> Iterator[tuple[str, tuple[Any, Any]]]:
    hints: dict[str, Any] = {}
    for part in reversed(cls.__mro__):
        hints |= _typed(part, _annotated(part))
    for name, hint in hints.items():
        yield name, (hint, getattr(cls, name, ...))


def _typed(cls: type, names: list[str]) -> dict[str, Any]:
    """The types of these settings alone: what else is annotated may be imported for type checkers only."""
    written = inspect.get_annotations(cls)
    holder = type(cls.__name__, (), {"__annotations__": {name: written[name] for name in names}})
    known = {**vars(cls), **vars(sys.modules[cls.__module__])}
    try:
        return get_type_hints(holder, globalns=known, include_extras=True)
    except NameError as error:
        place, fix = f"{cls.__module__}.{cls.__name__}", "Import it outside of `if TYPE_CHECKING:`."
        raise StrategyFailed(Problem(place, f"the type of a setting cannot be found: {error}.", fix)) from error


def _from_parameter(parameter: inspect.Parameter) -> tuple[Any, Any]:
    hint = Any if parameter.annotation is parameter.empty else parameter.annotation
    if isinstance(hint, str):
        hint = getattr(typing, hint, {"str": str, "int": int, "float": float, "bool": bool}.get(hint, Any))
    return hint, ... if parameter.default is parameter.empty else parameter.default


def described(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Each setting with its type, default and description, in order of declaration."""
    yield from model.model_fields.items()
