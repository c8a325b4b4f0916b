"""A setting's value as the text of a form's field, and back, so that no value is lost or changed on the way."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from regimen.complaints import shown
from regimen.document import Document
from regimen.errors import Problem, SpecError
from regimen.web.services.fields import ABSENT, Field

_INTEGER = re.compile(r"[-+]?[0-9]{1,30}")


def written(field: Field, value: Any) -> str:
    """The text that `read` turns into the value again."""
    if value is ABSENT or value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if field.type in ("choice", "plugin") or _is_read_as(field, value, value):
            return value
        return json.dumps(value, ensure_ascii=False)
    if field.type == "mapping" and not value:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else repr(value)


def read(field: Field, text: str) -> Any:
    """The value that a text means. Raises `SpecError` with the field's path for one that is not of its type.

    ABSENT for an empty text where something is required; None for one where null is allowed.
    """
    if field.type in ("fixed", "text", "dataset"):
        return _text(field, text)
    text = text.strip()
    if field.type == "mapping":
        return _mapping(field, text)
    if not text and (field.nullable or field.required):
        return None if field.nullable else ABSENT
    readers = {"integer": _integer, "number": _number, "boolean": _boolean, "switch": _boolean, "yaml": _yaml}
    return readers.get(field.type, _choice)(field, text)


def _is_read_as(field: Field, text: str, value: str) -> bool:
    try:
        found = read(field, text)
    except SpecError:
        return False
    return type(found) is str and found == value


def _wrong(field: Field, text: str, expected: str) -> NoReturn:
    fix = f"({field.description})" if field.description else ""
    raise SpecError(Problem(field.path, f"is {shown(text) if text else 'empty'}; expected {expected}.", fix))


def _text(field: Field, text: str) -> Any:
    if not text:
        return ABSENT if field.required and not field.nullable else None if field.nullable else ""
    if text.startswith('"') and text.endswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _integer(field: Field, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        _wrong(field, text, "a whole number")
    return int(text)


def _number(field: Field, text: str) -> float:
    if _INTEGER.fullmatch(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        _wrong(field, text, "a number")
    if not math.isfinite(number) or "_" in text:
        _wrong(field, text, "a finite number")
    return number


def _boolean(field: Field, text: str) -> bool:
    known = {"true": True, "on": True, "false": False, "": False}
    if text not in known:
        _wrong(field, text, "true or false")
    return known[text]


def _choice(field: Field, text: str) -> Any:
    for choice in field.choices:
        if written(field, choice) == text:
            return choice
    _wrong(field, text, f"one of {', '.join(written(field, choice) for choice in field.choices)}")


def _yaml(field: Field, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        pass
    try:
        return Document({}).with_overrides([f"x={text}"]).data["x"]
    except SpecError as error:
        raise SpecError([problem._replace(place=field.path) for problem in error.problems]) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _mapping(field: Field, text: str) -> dict[str, Any]:
    """A flow mapping `{momentum: 0.9}`, or `momentum: 0.9, nesterov: true` without its braces."""
    if not text:
        return {}
    found = _yaml(field, text if text.startswith("{") or "\n" in text else f"{{{text}}}")
    if not isinstance(found, dict) or not all(isinstance(key, str) and key for key in found):
        _wrong(field, text, "`key: value`, such as `momentum: 0.9`")
    wrong = [key for key in found if key in field.besides or "." in key]
    if wrong:
        _wrong(field, text, f"only what has no field of its own (so not {', '.join(wrong)})")
    return found
