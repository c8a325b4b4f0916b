"""Reads a `.json` file: a list of objects, JSON Lines under another name, or question answering in SQuAD's nesting."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from regimen.errors import DataError, Problem
from regimen.finetune.data.findings import Findings, shown
from regimen.finetune.data.jsonl import BOM, read_jsonl
from regimen.finetune.data.strictjson import MalformedError, decoder, explain, refuse_half_characters, utf8
from regimen.finetune.data.table import ListedRows, Place, Row, Rows, StoredRows

_SPACE = re.compile(r"[ \t\n\r]*")


def read_json(path: Path, file: BinaryIO) -> Rows:
    """The rows of a JSON file, by its first character: `[` is a list of rows, `{` is JSON Lines or SQuAD.

    The text of a list is in memory while it is checked; afterwards only the place of each element is.
    """
    file.seek(0)
    head = file.read(4096).removeprefix(BOM).lstrip()
    file.seek(0)
    if head.startswith(b"["):
        return _read_list(path, file)
    if head.startswith(b"{") and not _one_object(file):
        return read_jsonl(path, file)
    if head.startswith(b"{"):
        return _read_object(path, file)
    if head.startswith((b'"', b"'")) or not head[:1].isalnum():
        return read_jsonl(path, file)
    raise DataError(Problem(str(Place(path, 1)), f"starts with {head[:20]!r}, which is not JSON.", _SHAPE))


_SHAPE = "Write a list of objects, or one object a line (JSONL)."


def _one_object(file: BinaryIO) -> bool:
    """Whether the first line does not hold a whole object, so that the object goes on over several lines."""
    first = file.readline(1 << 26).removeprefix(BOM)
    rest_is_empty = not file.read(4096).strip()
    file.seek(0)
    try:
        value = json.loads(first)
    except ValueError:
        return first.strip() in (b"{", b"[") or (rest_is_empty and first.rstrip().endswith(b"}"))
    return rest_is_empty and isinstance(value, dict) and "data" in value


def _text(path: Path, file: BinaryIO) -> tuple[str, int]:
    raw = file.read()
    skip = len(BOM) if raw.startswith(BOM) else 0
    try:
        return raw[skip:].decode("utf-8"), skip
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start + skip) + 1
        message = f"byte {error.start + skip} of the file (0x{raw[error.start + skip]:02x}) is not UTF-8."
        raise DataError(Problem(str(Place(path, line)), message, "Save the file as UTF-8.")) from None


class _Element(NamedTuple):
    value: object
    start: int
    end: int


def _elements(text: str) -> Iterator[_Element]:
    """The elements of the list that `text` spells; raises JSONDecodeError or `MalformedError` where it does not."""
    at = _SPACE.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]
    if text.startswith("]", at):
        return
    while True:
        try:
            value, end = decoder.raw_decode(text, at)
        except MalformedError as error:
            raise _StopError(at, error) from None
        except RecursionError:
            raise _StopError(at, MalformedError("is nested too deeply to be read.", "Flatten it.")) from None
        yield _Element(value, at, end)
        at = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        if text.startswith("]", at):
            rest = text[at + 1 :]
            if rest.strip():
                raise json.JSONDecodeError("Extra data", text, at + 1)
            return
        if not text.startswith(",", at):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _SPACE.match(text, at + 1).end()  # type: ignore[union-attr]
        if text.startswith("]", at):
            raise json.JSONDecodeError("Illegal trailing comma before end of array", text, at)


class _StopError(Exception):
    def __init__(self, at: int, error: MalformedError) -> None:
        super().__init__()
        self.at, self.error = at, error


def _parse_element(raw: bytes) -> Row:
    value, _ = decoder.raw_decode(utf8(raw))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _read_list(path: Path, file: BinaryIO) -> StoredRows:
    text, byte = _text(path, file)
    findings = Findings()
    starts, lines, columns = array("Q"), array("Q"), dict[str, None]()
    line, seen = 1, 0
    try:
        for value, start, end in _elements(text):
            line += text.count("\n", seen, start)
            byte += len(text[seen:start].encode("utf-8"))
            seen = start
            _check_element(value, Place(path, line), text[start:end], findings)
            if isinstance(value, dict):
                columns.update(dict.fromkeys(value))
            starts.append(byte)
            lines.append(line)
    except json.JSONDecodeError as error:
        broken = explain(error)
        findings.add(Place(path, error.lineno), f"column {error.colno}: {broken.message}", broken.fix)
    except _StopError as stop:
        findings.add(Place(path, text.count("\n", 0, stop.at) + 1), stop.error.message, stop.error.fix)
    findings.raise_data_error()
    if not starts:
        raise DataError(Problem(str(path), "is an empty list.", "It must hold at least one object."))
    starts.append(byte + len(text[seen:].encode("utf-8")))
    fingerprint = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return StoredRows(path, file, starts, lines, _parse_element, columns, fingerprint)


def _check_element(value: object, place: Place, text: str, findings: Findings) -> None:
    if not isinstance(value, dict):
        findings.add(place, f"is {shown(value)}, not an object.", 'Write each row as {"field": value, ...}.')
    elif "\\ud" in text or "\\uD" in text:
        try:
            refuse_half_characters(value)
        except MalformedError as error:
            findings.add(place, error.message, error.fix)


def _read_object(path: Path, file: BinaryIO) -> Rows:
    text, _ = _text(path, file)
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        broken = explain(error)
        place = Place(path, error.lineno)
        raise DataError(Problem(str(place), f"column {error.colno}: {broken.message}", broken.fix)) from None
    except MalformedError as error:
        raise DataError(Problem(str(path), error.message, error.fix)) from None
    except RecursionError:
        raise DataError(Problem(str(path), "is nested too deeply to be read.", _SHAPE)) from None
    rows = _squad_rows(value.get("data"))
    if not rows:
        keys = ", ".join(list(value)[:8])
        raise DataError(Problem(str(Place(path, 1)), f"is one object (keys: {keys}), not a list of rows.", _SHAPE))
    return ListedRows(rows, str(path))


def _squad_rows(data: object) -> list[Row]:
    """SQuAD's nesting (data, paragraphs, qas) flattened to one row a question; empty when it is something else."""
    rows: list[Row] = []
    for article in _objects(data):
        for paragraph in _objects(article.get("paragraphs")):
            shared = {"title": article.get("title"), "context": paragraph.get("context")}
            rows.extend({**shared, **question} for question in _objects(paragraph.get("qas")))
    return rows


def _objects(value: object) -> list[dict[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
