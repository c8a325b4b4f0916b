"""What a strategy's `prepare_dataset` may return, as data sets: one, or a list of stages that are trained in turn."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
from numpy.typing import NDArray

from regimen.finetune.batches.order import Indices
from regimen.finetune.data.layouts import find_layout
from regimen.finetune.data.rows import as_rows
from regimen.finetune.preparing import encoder, tokenized_by_hand
from regimen.finetune.tokens.prepare import prepare
from regimen.syntax import syntax_tree

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy

TOKENS = frozenset({"input_ids", "prompt_ids", "chosen_ids"})
"""Columns of a data set whose rows are tokens already."""


def stages_of(made: Any) -> list[Any] | None:
    """The stages; None where it is one data set. A list of rows is one data set."""
    if not isinstance(made, list | tuple) or not made:
        return None
    if all(isinstance(stage, Mapping) and not _is_slice(stage) for stage in made):
        return None
    return [as_dataset(stage) for stage in made]


def as_dataset(made: Any) -> Any:
    """A `datasets.Dataset` of a slice of one (`dataset[10:20]` is a dict of lists) or of a list of rows."""
    if isinstance(made, Mapping) and _is_slice(made):
        return datasets.Dataset.from_dict(dict(made))
    if isinstance(made, list) and made and isinstance(made[0], Mapping):
        return datasets.Dataset.from_list(list(made))
    return made


def _is_slice(made: Mapping[str, Any]) -> bool:
    """Whether it is columns rather than a row: lists of one length, and where they are tokens, lists of lists."""
    columns = list(made.values())
    if not columns or not all(isinstance(column, list) for column in columns):
        return False
    tokens = [column for name, column in made.items() if name in TOKENS]
    return len({len(column) for column in columns}) == 1 and all(
        column and isinstance(column[0], list) for column in tokens
    )


def joined(made: Any) -> Any:
    """Stages as one data set, in their order; anything else as it is."""
    stages = stages_of(made)
    return as_dataset(made) if stages is None else datasets.concatenate_datasets(stages)


def in_tokens(strategy: TrainingStrategy, made: Any, tokenizer: Any) -> Any:
    """One data set whose rows are tokens: as it is, or its texts tokenized in the default way; stages are joined."""
    parts = token_stages(strategy, made, tokenizer)
    return parts[0] if len(parts) == 1 else datasets.concatenate_datasets(parts)


def one_dataset(strategy: TrainingStrategy, made: Any, tokenizer: Any) -> Any:
    """What `prepare_dataset` made, stages joined; in tokens, unless the strategy brings its own trainer."""
    return joined(made) if strategy.trains_itself else in_tokens(strategy, made, tokenizer)


def token_stages(strategy: TrainingStrategy, made: Any, tokenizer: Any) -> list[Any]:
    """As `in_tokens`, one data set a stage."""
    return [_tokenized(strategy, stage, tokenizer) for stage in stages_of(made) or [as_dataset(made)]]


def _tokenized(strategy: TrainingStrategy, made: Any, tokenizer: Any) -> Any:
    if TOKENS & set(getattr(made, "column_names", TOKENS)):
        return made
    task = strategy.session.task if strategy.session else None
    if task is None:
        return tokenized_by_hand(strategy, made, tokenizer).dataset
    rows = as_rows(made)
    return prepare(rows, encoder(strategy, task), layout=find_layout(rows, None, strategy.layouts or None)).dataset


def in_turn(
    sizes: Sequence[int], lengths: NDArray[np.int64], cut: Callable[[NDArray[np.int64]], list[Indices]]
) -> list[Indices]:
    """The batches of stages one after the other; `sizes` are the rows of each, `cut` makes batches of one's rows."""
    batches: list[Indices] = []
    start = 0
    for size in sizes:
        batches += [rows + start for rows in cut(lengths[start : start + size])]
        start += size
    return batches


def loops_over(hook: Callable[..., Any], parameter: str) -> bool:
    """Whether a hook's source has a loop over one of its parameters: `for i, stage in enumerate(train_dataset)`."""
    try:
        tree = syntax_tree(textwrap.dedent(inspect.getsource(hook)))
    except (OSError, TypeError, SyntaxError):
        return False
    loops = [node.iter for node in ast.walk(tree) if isinstance(node, ast.For | ast.comprehension)]
    return any(isinstance(name, ast.Name) and name.id == parameter for loop in loops for name in ast.walk(loop))


def shares(stages: Sequence[Any]) -> list[float]:
    """Each stage's part of all rows."""
    rows = sum(len(stage) for stage in stages)
    return [len(stage) / rows for stage in stages]
