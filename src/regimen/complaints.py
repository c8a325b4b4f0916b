"""What pydantic finds wrong in settings, in words: the place, the value, what was expected, the nearest known key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from regimen.errors import Problem, did_you_mean

PathOfKeys = tuple[str | int, ...]

_BRANCH = re.compile(
    r"^(function-|constrained-|tagged-union|literal\[|list\[|tuple\[|set\[|dict\[|(int|float|str|bool|none)$)"
)
"""What pydantic puts into a path for one alternative of a union: no key of the user's."""

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "list": "a list such as [a, b]",
    "tuple": "a list such as [a, b]",
    "set": "a list such as [a, b]",
    "dict": "settings below it, such as {{key: value}}",
    "finite": "a finite number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "one of the forms allowed",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}


def complaints(
    error: ValidationError,
    model: type[BaseModel],
    place: Callable[[PathOfKeys], str],
    elsewhere: Mapping[str, str],
    above: PathOfKeys = (),
) -> Iterator[tuple[PathOfKeys, Problem]]:
    """Each wrong key once, with its path. `place` names a path for the reader: file and line; `elsewhere` is where a
    key belongs that is often written at another place.
    """
    grouped: dict[PathOfKeys, list[Mapping[str, Any]]] = {}
    for item in error.errors(include_url=False):
        grouped.setdefault(_keys(item), []).append(item)
    for keys, items in grouped.items():
        nested = items[0].get("ctx", {}).get("nested")
        if isinstance(nested, ValidationError):
            yield from complaints(nested, items[0]["ctx"]["model"], place, elsewhere, above + keys)
        elif not _explained_below(keys, items, grouped):
            yield _complaint(keys, items, model, place, elsewhere, above)


def _keys(item: Mapping[str, Any]) -> PathOfKeys:
    return tuple(key for key in item["loc"] if not (isinstance(key, str) and (_BRANCH.match(key) or key == "[key]")))


def _explained_below(keys: PathOfKeys, items: Sequence[Mapping[str, Any]], grouped: Mapping[PathOfKeys, Any]) -> bool:
    """Whether one alternative of a union fits but for a part of it: then that part is what is wrong."""
    return len(items[0]["loc"]) > len(keys) and any(len(k) > len(keys) and k[: len(keys)] == keys for k in grouped)


def _complaint(
    keys: PathOfKeys,
    items: Sequence[Mapping[str, Any]],
    model: type[BaseModel],
    place: Callable[[PathOfKeys], str],
    elsewhere: Mapping[str, str],
    above: PathOfKeys,
) -> tuple[PathOfKeys, Problem]:
    item, path = items[0], above + keys
    context = item.get("ctx", {})
    if "problem" in context:
        path += tuple(context.get("keys", ()))
        return path, Problem(place(path), context["problem"], context.get("fix", ""))
    if item["type"] == "extra_forbidden":
        return path, Problem(place(path), "is not a setting.", _nearest(str(keys[-1]), path, model, keys, elsewhere))
    if item["type"] == "missing":
        above_it = place(path[:-1]) or "the description"
        return path, Problem(above_it, f"lacks `{keys[-1]}`.", _description(model, keys))
    if item["type"] in ("value_error", "assertion_error"):
        return path, Problem(place(path), f"is {shown(item['input'])}: {context['error']}.", _description(model, keys))
    expected = " or ".join(dict.fromkeys(_expected(each, model, keys) for each in items))
    return path, Problem(place(path), f"is {shown(item['input'])}; expected {expected}.", _fix(item, model, keys))


def _nearest(
    word: str, path: PathOfKeys, model: type[BaseModel], keys: PathOfKeys, elsewhere: Mapping[str, str]
) -> str:
    belongs = elsewhere.get(word)
    if belongs is None or belongs == ".".join(map(str, path)):
        return did_you_mean(word, _known(model, keys[:-1]))
    return f"Did you mean {belongs!r}?"


def _expected(item: Mapping[str, Any], model: type[BaseModel], keys: PathOfKeys) -> str:
    kind, context = str(item["type"]), item.get("ctx", {})
    if kind == "as_written":
        return " or ".join(_EXPECTED[name] for name in context["kinds"])
    if kind.startswith("model"):
        return f"settings below it: {', '.join(_known(model, keys))}"
    words = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0])
    if words is None:
        return str(item["msg"]).removeprefix("Input should be ")
    return words.format(**{name: f"{v:g}" if isinstance(v, float) else v for name, v in context.items()})


def _fix(item: Mapping[str, Any], model: type[BaseModel], keys: PathOfKeys) -> str:
    value, description = item["input"], _description(model, keys)
    if item["type"] == "literal_error" and isinstance(value, str):
        near = did_you_mean(value, re.findall(r"'([^']*)'", item["ctx"]["expected"]))
        return f"{near} {description}".strip() if near.startswith("Did") else description
    quoted_number = isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", value)
    return f"Write it without quotes. {description}".strip() if quoted_number else description


def _model_at(model: type[BaseModel], keys: Sequence[str | int]) -> type[BaseModel] | None:
    """The settings model below a path of keys, if the path leads to one."""
    for key in keys:
        info = model.model_fields.get(str(key))
        parts = (info.annotation, *get_args(info.annotation)) if info else ()
        found = next((part for part in parts if _is_model(part)), None)
        if found is None:
            return None
        model = found
    return model


def _is_model(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _known(model: type[BaseModel], keys: Sequence[str | int]) -> list[str]:
    found = _model_at(model, keys)
    return list(found.model_fields) if found else []


def _description(model: type[BaseModel], keys: Sequence[str | int]) -> str:
    """What the setting is; for an item of a list, what the list is."""
    while keys and isinstance(keys[-1], int):
        keys = keys[:-1]
    found = _model_at(model, keys[:-1]) if keys else None
    info = found.model_fields.get(str(keys[-1])) if found else None
    return f"({info.description})" if info and info.description else ""


def shown(value: object) -> str:
    """A value as a message shows it, with its kind in plain words.

    >>> shown("a"), shown(None), shown(True), shown({"b": 1})
    ("'a' (text)", 'empty', 'true (yes or no)', "{'b': 1} (settings)")
    """
    if value is None:
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f"{text[:60]}... ({kind(value)})" if len(text) > 60 else f"{text} ({kind(value)})"


def kind(value: object) -> str:
    """What a value is, in plain words."""
    names = {
        dict: "settings",
        list: "a list",
        str: "text",
        bool: "yes or no",
        int: "a whole number",
        float: "a number",
        type(None): "nothing",
    }
    return names.get(type(value), type(value).__name__)
