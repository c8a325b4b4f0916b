"""What differs between two runs, causes first: settings, data, code, versions; then where their numbers part.

Two runs are identical when every recorded (step, key, value) outside `time/` is the same, and so are the tensors of the
newest checkpoint that both still have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from regimen.events import SCHEMA_VERSION
from regimen.readable import number
from regimen.records.reader import Record
from regimen.spec import changed_settings

if TYPE_CHECKING:
    from rich.console import RenderableType

_NOT_COMPARED = frozenset({"command", "schema_version"})
"""Of the environment: how a run was typed says nothing that its settings do not say."""


class Change(NamedTuple):
    """One thing that differs; None where a run does not have it."""

    name: str
    a: object
    b: object


class Parting(NamedTuple):
    """The first recorded number that is not the same in both runs."""

    step: int
    key: str
    a: float
    b: float


@dataclass(frozen=True)
class Differences:
    """All lists are empty where nothing differs."""

    a: Path
    b: Path
    settings: list[Change]
    """Dotted paths of the resolved settings."""
    data: Change | None
    """Fingerprints of the data."""
    code: Change | None
    """Hashes of the strategy's source."""
    environment: list[Change]
    outcome: list[Change]
    """Status and final metrics."""
    parting: Parting | None
    """The first number recorded by both at which they differ."""
    shared: int
    """Numbers recorded by both, at the same step under the same key."""
    only_a: int
    only_b: int
    """Numbers that one recorded and the other did not: other intervals, or one went further."""
    weights: Literal["equal", "different", "not compared"]
    """Tensors (weights and optimizer) of the newest checkpoint that both still have."""
    weights_step: int | None

    @property
    def identical(self) -> bool:
        """Whether both runs computed the same; settings that do not matter for it may differ."""
        same_numbers = self.parting is None and self.only_a == self.only_b == 0 and self.shared > 0
        return same_numbers and self.weights != "different"


def compare(a: Record, b: Record) -> Differences:
    """Compares two records. Raises `RecordError` if one cannot be read."""
    numbers_a, numbers_b = _numbers(a), _numbers(b)
    shared = numbers_a.keys() & numbers_b.keys()
    weights, step = _weights(a, b)
    return Differences(
        a=a.folder,
        b=b.folder,
        settings=_changes(a.settings, b.settings),
        data=_change("data", a.spec.get("data"), b.spec.get("data")),
        code=_change("code", a.spec.get("code"), b.spec.get("code")),
        environment=[c for c in _changes(a.environment, b.environment) if c.name.split(".")[0] not in _NOT_COMPARED],
        outcome=[*_status(a, b), *_final(a, b)],
        parting=_parting(numbers_a, numbers_b),
        shared=len(shared),
        only_a=len(numbers_a) - len(shared),
        only_b=len(numbers_b) - len(shared),
        weights=weights,
        weights_step=step,
    )


def conclusion(found: Differences) -> str:
    """In a sentence: identical, the same as far as both went, or where they part."""
    if found.identical:
        weights = (
            f", and so are the tensors of the checkpoint of step {found.weights_step}"
            if found.weights == "equal"
            else ""
        )
        return f"Identical: all {found.shared:,} recorded numbers are the same{weights}."
    if found.parting is not None:
        step, key, a, b = found.parting
        return f"The numbers part at step {step:,}: {key} is {_exact(a)} in A and {_exact(b)} in B."
    if found.weights == "different":
        return f"The recorded numbers are the same, the tensors of the checkpoint of step {found.weights_step} are not."
    if found.shared == 0:
        return "The two runs recorded nothing at the same step under the same key."
    return (
        f"The same wherever both recorded ({found.shared:,} numbers); "
        f"{found.only_a:,} more were recorded by A alone, {found.only_b:,} by B alone."
    )


def to_json(found: Differences) -> str:
    """All of it as one JSON object; numbers that JSON lacks are the strings of `events.jsonl`."""
    parting = found.parting
    body = {
        "schema_version": SCHEMA_VERSION,
        "a": str(found.a),
        "b": str(found.b),
        "identical": found.identical,
        "conclusion": conclusion(found),
        "settings": [_plain(change) for change in found.settings],
        "data": _plain(found.data) if found.data else None,
        "code": _plain(found.code) if found.code else None,
        "environment": [_plain(change) for change in found.environment],
        "outcome": [_plain(change) for change in found.outcome],
        "parting": {"step": parting.step, **_plain(Change(parting.key, parting.a, parting.b))} if parting else None,
        "shared": found.shared,
        "only_a": found.only_a,
        "only_b": found.only_b,
        "weights": found.weights,
        "weights_step": found.weights_step,
    }
    return json.dumps(body, indent=1, ensure_ascii=False)


def groups(found: Differences) -> list[tuple[str, list[Change]]]:
    """What differs under its headings, causes before effects; headings without a difference are left out."""
    ordered = [
        ("settings", found.settings),
        ("data and code", [change for change in (found.data, found.code) if change]),
        ("environment", found.environment),
        ("outcome", found.outcome),
    ]
    return [(heading, changes) for heading, changes in ordered if changes]


def plain(found: Differences) -> str:
    """As text: the conclusion, then a line for each difference."""
    lines = [f"A {found.a}", f"B {found.b}", conclusion(found)]
    for heading, changes in groups(found):
        lines += ["", heading, *(f"  {change.name}: {said(change.a)} -> {said(change.b)}" for change in changes)]
    return "\n".join(lines)


def table(found: Differences) -> RenderableType:
    """For a terminal: the same as `plain`, as a table a heading."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"A {found.a}\nB {found.b}", style="dim")]
    parts.append(Text(conclusion(found), style="bold green" if found.identical else "bold"))
    for heading, changes in groups(found):
        one = Table(title=heading, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for name in ("", "A", "B"):
            one.add_column(name, overflow="fold")
        for change in changes:
            one.add_row(Text(change.name, style="cyan"), Text(said(change.a)), Text(said(change.b)))
        parts += [Text(""), one]
    return Group(*parts)


def said(value: object) -> str:
    """A value as a reader knows it from the settings; hashes and other long texts are cut."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return number(value, 6)
    if isinstance(value, str):
        return value if len(value) <= 60 else f"{value[:12]}…"
    return json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------ what is compared


def _changes(a: Mapping[str, object], b: Mapping[str, object]) -> list[Change]:
    return [Change(path, before, after) for path, (before, after) in changed_settings(a, b).items()]


def _change(name: str, a: object, b: object) -> Change | None:
    return None if a == b else Change(name, a, b)


def _status(a: Record, b: Record) -> list[Change]:
    change = _change("status", a.status, b.status)
    return [change] if change else []


def _final(a: Record, b: Record) -> list[Change]:
    keys = dict.fromkeys([*a.final, *b.final])
    both = [(key, a.final.get(key), b.final.get(key)) for key in keys if not key.startswith("time/")]
    return [Change(key, x, y) for key, x, y in both if x is None or y is None or not _same(x, y)]


def _numbers(record: Record) -> dict[tuple[int, str, int], float]:
    """Every identifying number by (step, key, how often that was recorded before)."""
    found: dict[tuple[int, str, int], float] = {}
    times: dict[tuple[int, str], int] = {}
    for step, key, value in record.identity:
        before = times.get((step, key), 0)
        times[step, key] = before + 1
        found[step, key, before] = value
    return found


def _parting(a: Mapping[tuple[int, str, int], float], b: Mapping[tuple[int, str, int], float]) -> Parting | None:
    parted: Sequence[tuple[int, str, int]] = [
        place for place, value in a.items() if place in b and not _same(value, b[place])
    ]
    if not parted:
        return None
    first = min(parted, key=lambda place: place[0])  # of one step, what was recorded first
    return Parting(first[0], first[1], a[first], b[first])


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _weights(a: Record, b: Record) -> tuple[Literal["equal", "different", "not compared"], int | None]:
    in_a, in_b = ({path.name: path for path in record.checkpoints} for record in (a, b))
    for name in reversed(in_a):
        if name in in_b:
            hashes = [_tensor_hash(found[name]) for found in (in_a, in_b)]
            if None not in hashes:
                return "equal" if hashes[0] == hashes[1] else "different", int(name.removeprefix("step-"))
    return "not compared", None


def _tensor_hash(checkpoint: Path) -> object:
    """As the manifest says it; None if the manifest cannot be read: such a checkpoint does not count."""
    try:
        return json.loads((checkpoint / "manifest.json").read_bytes())["files"]["tensors.safetensors"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _exact(value: float) -> str:
    """With all its digits: two numbers that part may look the same in four."""
    return repr(value) if math.isfinite(value) else number(value)


def _plain(change: Change) -> dict[str, object]:
    return {"name": change.name, "a": _word(change.a), "b": _word(change.b)}


def _word(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
