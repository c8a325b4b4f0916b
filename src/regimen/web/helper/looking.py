"""Data files looked at: how many rows, which columns, which layout; the rows themselves; and all that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regimen.errors import DataError, Problem, RegimenError
from regimen.finetune.data.checkrows import check_rows
from regimen.finetune.data.layouts import LAYOUTS, Layout, find_layout, suggested_columns
from regimen.finetune.data.rows import Rows, read_rows

MOST_TEXT = 20_000
"""Characters of one text of a row that are shown."""


def look(files: Sequence[str]) -> dict[str, Any]:
    """Rows, columns and layout of each file, or the problems that keep it from being read."""
    return {"files": {file: _looked(file) for file in files}}


def rows(file: str, offset: int, limit: int) -> dict[str, Any]:
    """Some rows as they are, each with its place; long texts are cut. Raises `DataError`."""
    read = read_rows(file)
    chosen = range(min(offset, len(read)), min(offset + limit, len(read)))
    return {
        "total": len(read),
        "columns": read.columns,
        "rows": [{"place": _place(read.place(index)), "row": _cut(read[index])} for index in chosen],
    }


def validate(file: str, columns: Mapping[str, str], layouts: Sequence[str]) -> dict[str, Any]:
    """Every row against the layout that fits, or that a column map says, among `layouts` (empty: any).

    The first problems are listed, all are counted.
    """
    try:
        read = read_rows(file)
    except DataError as error:
        return _unreadable(error)
    base = {"rows": len(read), "columns": read.columns, "notes": [_short(note) for note in read.notes]}
    suggested = suggested_columns(read.columns, list(layouts) or LAYOUTS)
    try:
        layout = find_layout(read, dict(columns) or None, list(layouts) or None)
    except DataError as error:
        return {**_unreadable(error), **base, "suggested_columns": suggested}
    report = check_rows(read, layout)
    return {
        **_empty(),
        **base,
        "valid": not report.errors.count,
        "layout": layout.name,
        "mapping": dict(layout.columns),
        "unused": list(layout.unused),
        "errors": _problems(report.errors.problems),
        "num_errors": report.errors.count,
        "warnings": _problems(report.warnings.problems),
        "num_warnings": report.warnings.count,
        "bad_rows": len(report.bad_rows),
        "duplicates": report.duplicates,
        "duplicate_places": [[_place(again), _place(first)] for again, first in report.duplicate_places],
    }


def _looked(file: str) -> dict[str, Any]:
    try:
        read = read_rows(file)
    except RegimenError as error:
        return {"rows": None, "columns": [], "layouts": [], "problems": _problems(error.problems)}
    return {
        "rows": len(read),
        "columns": read.columns,
        "layouts": sorted({layout.name for layout in _fitting(read)}),
        "problems": [],
    }


def _fitting(read: Rows) -> list[Layout]:
    """The layouts that strategies could find in the columns: one for those that train answers, one for preferences."""
    found = []
    for accept in (None, *([name] for name in LAYOUTS)):
        try:
            found.append(find_layout(read, None, accept))
        except DataError:
            continue
        if accept is None:
            break
    return found


def _empty() -> dict[str, Any]:
    return {
        "valid": False,
        "rows": None,
        "columns": [],
        "notes": [],
        "layout": None,
        "mapping": {},
        "unused": [],
        "errors": [],
        "num_errors": 0,
        "warnings": [],
        "num_warnings": 0,
        "bad_rows": 0,
        "duplicates": 0,
        "duplicate_places": [],
        "suggested_columns": {},
    }


def _unreadable(error: DataError) -> dict[str, Any]:
    return {**_empty(), "errors": _problems(error.problems), "num_errors": len(error.problems)}


def _problems(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{name: _short(text) for name, text in problem._asdict().items()} for problem in problems]


def _place(place: object) -> str:
    return _short(str(place))


def _short(text: str) -> str:
    """Without the folder that the server keeps data sets in: `train.jsonl:17`."""
    return text.replace("datasets/", "")


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MOST_TEXT else f"{value[:MOST_TEXT]}... ({len(value):,} characters)"
    if isinstance(value, Mapping):
        return {key: _cut(inner) for key, inner in value.items()}
    return [_cut(inner) for inner in value] if isinstance(value, list | tuple) else value
