"""What is wrong with a JSON body before anybody looks at what it says: values that no file of ours could hold."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

from regimen.web.refusal import Refusal

MOST_JSON = 2 << 20
"""Bytes of a JSON body or a form."""
MOST_UPLOAD = (1 << 30) + (1 << 20)
"""Bytes of an upload with what is around it; a route may take less."""
MOST_DEPTH = 64
MOST_DIGITS = 400
"""Of a number as it is written."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def why_not_json(body: bytes) -> Refusal | None:
    """The reason why a body is refused that is no JSON, or holds what cannot be written down again; None if fine.

    Numbers that are not finite or have more than 64 bits, halves of characters, and values nested over 64 deep.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    except UnicodeDecodeError as error:
        return Refusal(422, "body", f"is not UTF-8 at byte {error.start}.")
    except RecursionError:
        return Refusal(422, "body", f"is nested more than {MOST_DEPTH} deep.")
    except ValueError as error:
        return Refusal(422, "body", f"is no JSON that can be kept: {error}.")
    return _why_not_value(value)


def _why_not_value(value: object) -> Refusal | None:
    level = [value]
    for _ in range(MOST_DEPTH):
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one)
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
            elif isinstance(one, str) and _SURROGATE.search(one):
                return Refusal(422, "body", "holds half a character (a lone surrogate).", "Send whole characters.")
        if not inner:
            return None
        level = inner
    return Refusal(422, "body", f"is nested more than {MOST_DEPTH} deep.")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if len(text) > MOST_DIGITS or not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > 20 or not -(1 << 63) <= int(text) < 1 << 63:
        raise ValueError(f"the number {text[:40]} has more than 64 bits")
    return int(text)
