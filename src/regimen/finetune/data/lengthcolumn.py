"""Gives a hook the column `length` that it sorts by, where the data has none."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import datasets

from regimen.syntax import syntax_tree

NOTE = "the data has no column length, by which prepare_dataset sorts: it was added, the characters of a row's texts."


def with_length(
    dataset: datasets.Dataset, hook: Callable[..., Any], note: Callable[[str], None] | None
) -> datasets.Dataset:
    """The data set, with `length` where the hook calls `.sort("length")` and there is no such column.

    ModelForge's curriculum example sorts by it and nothing makes it.
    """
    if "length" in dataset.column_names or not sorts_by_length(hook):
        return dataset
    lengths = [sum(len(value) for value in row.values() if isinstance(value, str)) for row in dataset]
    if note is not None:
        note(NOTE)
    return dataset.add_column("length", lengths)


def sorts_by_length(hook: Callable[..., Any]) -> bool:
    """Whether the source of a hook asks for a column of that name."""
    try:
        tree = syntax_tree(textwrap.dedent(inspect.getsource(hook)))
    except (OSError, TypeError, SyntaxError):
        return False
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    sorts = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "sort"]
    return any(isinstance(arg, ast.Constant) and arg.value == "length" for call in sorts for arg in call.args)
