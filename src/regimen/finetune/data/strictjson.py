"""Reads one JSON object strictly: no repeated key, no NaN, no half character; and says in words what is wrong."""

from __future__ import annotations

import json
import math
from typing import NamedTuple

from regimen.finetune.data.findings import shown
from regimen.finetune.data.table import Row


class MalformedError(ValueError):
    """A row that cannot be read: what was found, and what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        key = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MalformedError(f"the key {key!r} stands twice in one object.", "Keep one of the two.")
    return made


def _constant(word: str) -> object:
    raise MalformedError(f"{word} is not JSON.", "Write a finite number, null, or a text.")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise MalformedError(
            f"the number {digits[:30]} is larger than any number here can be.", "Write a finite number."
        )
    return number


decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)


class Broken(NamedTuple):
    """One syntax error: its character in the text (0-based) and the words for it."""

    position: int
    message: str
    fix: str


def decoded(text: str) -> object:
    """The value that `text` spells; raises `MalformedError`."""
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        broken = explain(error)
        raise MalformedError(f"column {broken.position + 1}: {broken.message}", broken.fix) from None
    except RecursionError:
        raise MalformedError(
            "is nested too deeply to be read.", "Flatten it; a row needs a handful of levels."
        ) from None
    except MalformedError:
        raise
    except ValueError as error:
        raise MalformedError(f"has a number that cannot be read: {error}.", "Write it as a text.") from None


def utf8(raw: bytes) -> str:
    """The text of `raw`; raises `MalformedError` with the first byte that is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise MalformedError(
            f"byte {error.start + 1} of the line (0x{byte:02x}) is not UTF-8.", "Save the file as UTF-8."
        ) from None


def parse_row(raw: bytes) -> Row:
    """One line of JSONL as a row; raises `MalformedError`."""
    value = decoded(utf8(raw))
    if not isinstance(value, dict):
        raise MalformedError(f"is {shown(value)}, not an object.", 'Write each row as {"field": value, ...}.')
    if b"\\ud" in raw or b"\\uD" in raw:
        refuse_half_characters(value)
    return value


def refuse_half_characters(value: object) -> None:
    """Raise `MalformedError` for a text with one half of a surrogate pair: no tokenizer can encode it."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise MalformedError(
            f"{half} is half a character (a lone surrogate).", "Remove it, or write both halves."
        ) from None


def explain(error: json.JSONDecodeError) -> Broken:
    """A decoder's error with the text around it and advice for the usual slips."""
    text, position = error.doc, error.pos
    around = text[max(0, position - 20) : position + 20].strip("\n")
    rest = text[position:]
    if not rest.strip() or error.msg.startswith("Unterminated string"):
        return Broken(position, f"the JSON breaks off, near {around!r}.", _CUT)
    if error.msg == "Extra data":
        return Broken(
            position, f"more text follows the end of the object, near {around!r}.", "Write one object a line."
        )
    return Broken(position, f"{error.msg.lower()}, near {around!r}.", _advice(rest, error.msg))


_CUT = "The line was cut off: write it again in full."


def _advice(rest: str, message: str) -> str:
    if rest.startswith("'"):
        return "JSON quotes text with \", not with '."
    if rest.startswith(("True", "False", "None")):
        return "JSON writes true, false and null."
    if message.startswith("Illegal trailing comma") or rest.lstrip(" ,").startswith(("}", "]")):
        return "Remove the comma before the closing bracket."
    if message.startswith("Invalid control character"):
        return "Write a line break inside a text as \\n and a tab as \\t."
    if message.startswith("Invalid \\escape"):
        return "Write a backslash as \\\\."
    return "Write the line with a JSON library, or fix it by hand."
