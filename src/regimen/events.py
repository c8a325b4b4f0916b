"""What a run appends to `events.jsonl`, one JSON object a line, and how a reader sees through a resume.

    {"kind": "header", "schema_version": 1, "id": "01J..."}                 the first line, once
    {"kind": "metrics", "step": 40, "values": {"train/loss": 1.25}, "at": 1763.2}
    {"kind": "note", "text": "...", "at": 1763.2}                           what a reader of the record must know
    {"kind": "resumed", "resumed_from": 30, "keep": 5120, "at": 1763.2}     drops what lies between byte 5120 and here

Numbers that JSON lacks are the strings "NaN", "Infinity" and "-Infinity". The file only grows. A checkpoint remembers
how long the file was; a resume appends that length as `keep`, and a reader drops the bytes after it up to the resume
line: they tell of steps that were taken again. A line torn by a kill lies in that range, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from regimen.errors import Problem, RecordError

SCHEMA_VERSION = 1
"""Of every file in a run folder; a reader accepts this and every earlier one."""

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True)
class Header:
    id: str
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Metrics:
    """Numbers at one step. Keys are `<split>/<name>`; those under `time/` are no part of a run's identity."""

    step: int
    values: Mapping[str, float]
    at: float = field(compare=False)
    """Seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class Note:
    text: str
    at: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Resumed:
    resumed_from: int
    keep: int
    """Length in bytes of the part of the file that the checkpoint knew; what follows up to here was done again."""
    at: float = field(compare=False)


Event = Header | Metrics | Note | Resumed
_KINDS: dict[str, type[Event]] = {"header": Header, "metrics": Metrics, "note": Note, "resumed": Resumed}
_NAMES = {cls: name for name, cls in _KINDS.items()}


def encode(event: Event) -> bytes:
    """One line, newline included.

    >>> encode(Metrics(3, {"train/loss": math.nan}, at=0.0))
    b'{"kind": "metrics", "step": 3, "values": {"train/loss": "NaN"}, "at": 0.0}\\n'
    """
    body: dict[str, Any] = {"kind": _NAMES[type(event)]}
    for name in event.__slots__:
        value = getattr(event, name)
        body[name] = in_json(value) if name == "values" else value
    return (json.dumps(body, ensure_ascii=False, allow_nan=False) + "\n").encode()


def decode(line: bytes) -> Event:
    """The event of one line. Raises `ValueError` for anything that `encode` does not write."""
    body = json.loads(line)
    cls = _KINDS.get(body.pop("kind", ""))
    if cls is None:
        raise ValueError(f"no known kind of event: {line[:80]!r}")
    if cls is Metrics:
        values = body["values"] = from_json(body["values"])
        if not isinstance(body["step"], int) or not all(isinstance(value, float | int) for value in values.values()):
            raise ValueError(f"no metrics: {line[:80]!r}")
    return cls(**body)


def surviving(lines: Iterable[bytes], name: str = "events.jsonl") -> Iterator[Event]:
    """The events that count, in file order: without those that a later resume superseded.

    `lines` come with their newlines. A torn or broken line that no resume covers is tolerated only at the very end (a
    run that is being written, or was killed); elsewhere it raises `RecordError` with its line number.
    """
    kept: list[tuple[int, int, Event | None]] = []
    end = 0
    for number, line in enumerate(lines, start=1):
        start, end = end, end + len(line)
        try:
            event: Event | None = decode(line) if line.endswith(b"\n") else None
        except (ValueError, TypeError, AttributeError, KeyError):
            event = None
        if isinstance(event, Header) and event.schema_version > SCHEMA_VERSION:
            raise RecordError(_too_new(name, event.schema_version))
        if isinstance(event, Resumed):
            while kept and kept[-1][0] >= event.keep:
                kept.pop()
        if event is not None or line.strip():
            kept.append((start, number, event))
    for position, (_, number, event) in enumerate(kept):
        if event is not None:
            yield event
        elif position < len(kept) - 1:
            raise RecordError(Problem(f"{name}:{number}", "is not an event.", "The file was edited or damaged."))


def in_json(values: Mapping[str, float]) -> dict[str, float | str]:
    """Numbers that JSON lacks as words."""
    words = {math.inf: "Infinity", -math.inf: "-Infinity"}
    return {key: "NaN" if value != value else words.get(value, value) for key, value in values.items()}


def from_json(values: Mapping[str, float | str]) -> dict[str, float]:
    """The words as numbers again."""
    return {key: _WORDS[value] if isinstance(value, str) else value for key, value in values.items()}


def _too_new(name: str, version: int) -> Problem:
    return Problem(
        name, f"has schema version {version}; this regimen reads up to {SCHEMA_VERSION}.", "Upgrade regimen-ml."
    )
