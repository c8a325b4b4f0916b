"""A form's fields as they are shown: in groups, what few change folded, with bounds and what is wrong with each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from regimen.errors import Problem
from regimen.web.services.fields import Field, Group
from regimen.web.services.forms import is_shown, written

TITLES: dict[Group, str] = {
    "model": "Model",
    "data": "Data",
    "how": "Training",
    "budget": "Budget",
    "advanced": "Machine and record",
}
_FOLDED = frozenset(
    (
        *("revision", "template", "provider", "max_new_tokens", "samples", "split_seed", "max_rows", "purpose"),
        *("metrics", "test", "alpha", "dropout", "target_modules", "init", "modules_to_save", "quantize", "schedule"),
        *("eval_batch_size", "accumulate", "clip_norm", "group_by_length", "packing", "gradient_checkpointing"),
        *("loss_on", "passes", "tokens"),
    )
)
"""Words of paths that few change: they are folded as long as they have their defaults."""


@dataclass(frozen=True)
class Entry:
    """A field with what stands in it."""

    field: Field
    text: str
    default: str
    """As text."""
    problem: Problem | None
    is_hidden: bool
    """Another choice decides that it has no meaning now."""

    @property
    def id(self) -> str:
        """For its label."""
        return "field-" + "".join(letter if letter.isalnum() else "-" for letter in self.field.key)

    @property
    def label(self) -> str:
        """What it is within its section."""
        words = self.field.label.removeprefix("data ").removeprefix("budget ")
        return f"{words}: further settings" if self.field.type == "mapping" else words

    @property
    def is_changed(self) -> bool:
        return self.text != self.default

    @property
    def when(self) -> str:
        """As the script of the screen reads it."""
        return json.dumps(self.field.when) if self.field.when else ""

    @property
    def choices(self) -> list[str]:
        return [written(self.field, choice) for choice in self.field.choices]

    @property
    def bounds(self) -> str:
        """In words: `more than 0, at most 1`."""
        field = self.field
        told = [("at least", field.minimum), ("at most", field.maximum), ("more than", field.above)]
        told.append(("less than", field.below))
        return ", ".join(f"{words} {_plain(number)}" for words, number in told if number is not None)

    @property
    def placeholder(self) -> str:
        if self.default:
            return self.default
        return "required" if self.field.required else "unset" if self.field.nullable else ""


def _plain(number: float) -> str:
    """
    >>> _plain(1), _plain(0.5), _plain(4294967296)
    ('1', '0.5', '4,294,967,296')
    """
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


class Section(NamedTuple):
    """A group of the form."""

    name: Group
    title: str
    first: list[Entry]
    folded: list[Entry]
    is_open: bool


def sections(fields: Sequence[Field], values: Mapping[str, str], problems: Sequence[Problem]) -> list[Section]:
    """All fields but the names of task and strategy, which are chosen above them."""
    wrong = {problem.place: problem for problem in problems}
    found = []
    for group, title in TITLES.items():
        entries = [_entry(one, fields, values, wrong) for one in fields if one.group == group and not one.is_fixed]
        folded = list(_folded(group, entries))
        first = [entry for entry in entries if entry not in folded]
        if entries:
            is_open = any((entry.is_changed or entry.problem) and not entry.is_hidden for entry in folded)
            found.append(Section(group, title, first, folded, is_open))
    return found


def _entry(field: Field, fields: Sequence[Field], values: Mapping[str, str], wrong: Mapping[str, Problem]) -> Entry:
    default = written(field, field.default)
    text = values.get(field.key, default)
    return Entry(field, text, default, wrong.get(field.path), not is_shown(field, fields, values))


def _folded(group: Group, entries: Sequence[Entry]) -> Iterator[Entry]:
    for entry in entries:
        words = set(entry.field.path.removesuffix(".*").split("."))
        if group == "advanced" or words & _FOLDED:
            yield entry
