"""Finds which columns are the prompt, the answer, the chat: by their names in all rows, or as the user says.

Layouts: `messages`, `sharegpt`, `prompt_completion`, `input_output`, `instruction`, `text`, `preference`,
`unpaired_preference`. Nothing is guessed: two possible layouts, or none, are an error that lists what was found.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from regimen.errors import DataError, Problem, did_you_mean
from regimen.finetune.data.table import Rows


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows are laid out: `columns` gives for each field of the layout the column that holds it."""

    name: str
    columns: Mapping[str, str]
    unused: tuple[str, ...] = ()
    """Columns that no field takes."""


class _Known(NamedTuple):
    """A layout: each field with the column names it is known by."""

    name: str
    required: dict[str, tuple[str, ...]]
    optional: dict[str, tuple[str, ...]]


def _same(*fields: str) -> dict[str, tuple[str, ...]]:
    return {field: (field,) for field in fields}


_KNOWN = [
    _Known("messages", _same("messages"), _same("tools")),
    _Known("sharegpt", _same("conversations"), _same("tools", "system")),
    _Known("prompt_completion", _same("prompt", "completion"), _same("tools")),
    _Known("input_output", _same("input", "output"), _same("system")),
    _Known(
        "instruction",
        {**_same("instruction"), "output": ("output", "response")},
        {"input": ("input", "context"), **_same("system")},
    ),
    _Known("text", _same("text"), {}),
    _Known(
        "preference",
        {"chosen": ("chosen", "chosen_messages"), "rejected": ("rejected", "rejected_messages")},
        {"prompt": ("prompt", "conversations"), **_same("tools", "system")},
    ),
    _Known("unpaired_preference", _same("prompt", "completion", "label"), _same("tools")),
    _Known("unpaired_preference", _same("messages", "label"), _same("tools")),
]
LAYOUTS = tuple(dict.fromkeys(known.name for known in _KNOWN))
_FIELDS = {field for known in _KNOWN for field in (*known.required, *known.optional)}

_USUAL = {
    "messages": ("messages", "conversation", "dialog", "dialogue", "chat", "turns"),
    "chosen": ("chosen", "preferred", "accepted", "better", "winner"),
    "rejected": ("rejected", "dispreferred", "worse", "loser"),
    "prompt": ("prompt", "question", "query", "instruction", "input", "source", "problem", "document", "article"),
    "completion": (
        "completion",
        "answer",
        "response",
        "output",
        "target",
        "reply",
        "solution",
        "summary",
        "highlights",
    ),
    "text": ("text", "content", "body", "story", "sentence"),
}
"""Names in use for a field: for advice only, never taken without being told."""


def find_layout(rows: Rows, columns: Mapping[str, str] | None = None, accept: Collection[str] | None = None) -> Layout:
    """The one layout that fits the columns of all rows.

    `columns` maps a field of a layout to the user's column ({"prompt": "question"}); `accept` names the layouts that
    the strategy can train. Raises `DataError` when a mapped name is unknown, or when no layout or more than one fits.
    """
    names = {name: name for name in rows.columns}
    if columns:
        _check_map(rows, columns)
        names = {name: name for name in rows.columns if name not in columns.values()}
        names.update(columns)
    known = [layout for layout in _KNOWN if accept is None or layout.name in accept]
    fitting = [layout for layout in (_fit(each, names, rows) for each in known) if layout is not None]
    if columns:
        fitting = [layout for layout in fitting if columns.keys() <= layout.columns.keys()]
    fitting = [layout for layout in fitting if not any(_is_part(layout, other) for other in fitting)]
    if len(fitting) == 1:
        return fitting[0]
    raise DataError(_none_fits(rows, known) if not fitting else _many_fit(rows, fitting))


def _fit(known: _Known, names: Mapping[str, str], rows: Rows) -> Layout | None:
    found: dict[str, str] = {}
    for field, theirs in (*known.required.items(), *known.optional.items()):
        present = [name for name in dict.fromkeys((field, *theirs)) if name in names]
        if len(present) > 1 and field not in theirs[:1]:
            present = present[:1]
        if len(present) > 1:
            raise DataError(_two_columns(rows, known.name, field, present))
        if present:
            found[field] = names[present[0]]
        elif field in known.required:
            return None
    used = set(found.values())
    return Layout(known.name, found, tuple(name for name in rows.columns if name not in used))


def _is_part(layout: Layout, other: Layout) -> bool:
    mine, theirs = set(layout.columns.values()), set(other.columns.values())
    if layout.name == other.name:
        return layout is not other and mine < theirs
    return mine < theirs


def _two_columns(rows: Rows, layout: str, field: str, present: list[str]) -> Problem:
    fix = f"Say which one: columns: {{{field}: {present[0]}}}."
    return Problem(rows.source, f"columns {' and '.join(present)} could both be the {field} of layout {layout}.", fix)


def _check_map(rows: Rows, columns: Mapping[str, str]) -> None:
    problems = []
    for field, theirs in columns.items():
        if field not in _FIELDS:
            problems.append(
                Problem(rows.source, f"columns: no layout has a field {field!r}.", did_you_mean(field, _FIELDS))
            )
        if theirs not in rows.columns:
            message = f"columns: {field}: there is no column {theirs!r}."
            problems.append(Problem(rows.source, message, did_you_mean(theirs, rows.columns)))
    if problems:
        raise DataError(problems)


def _describe(known: _Known) -> str:
    return f"{known.name} ({' + '.join('/'.join(names) for names in known.required.values())})"


def _none_fits(rows: Rows, known: list[_Known]) -> Problem:
    found = ", ".join(rows.columns[:30])
    message = f"the columns ({found}) fit no layout. Known: {', '.join(_describe(each) for each in known)}."
    map_ = suggested_columns(rows.columns, {layout.name for layout in known})
    advice = ", ".join(f"{field}: {column}" for field, column in map_.items())
    blanks = ", ".join(f"{field}: ..." for field in known[0].required) if len(known) == 1 else ""
    wanted = advice or blanks or "prompt: ..., completion: ..."
    fix = f"{'Perhaps' if advice else 'Map them:'} task.data.columns: {{{wanted}}}."
    return Problem(rows.source, message, fix)


def suggested_columns(columns: Collection[str], accept: Collection[str] = LAYOUTS) -> dict[str, str]:
    """A column map that would do, from the usual names: `{prompt: question, completion: answer}`; or an empty one."""
    lowered = {column.casefold(): column for column in columns}
    usual = {field: next((lowered[name] for name in names if name in lowered), None) for field, names in _USUAL.items()}
    for known in _KNOWN:
        if known.name in accept and all(usual.get(field) for field in known.required):
            return {field: column for field in known.required if (column := usual[field])}
    return {}


def _many_fit(rows: Rows, fitting: list[Layout]) -> Problem:
    names = " and ".join(f"{layout.name} ({', '.join(layout.columns.values())})" for layout in fitting)
    first = ", ".join(f"{field}: {column}" for field, column in fitting[0].columns.items())
    fix = f"Remove the columns that are not meant, or say which: columns: {{{first}}}."
    return Problem(rows.source, f"the columns fit more than one layout: {names}.", fix)
