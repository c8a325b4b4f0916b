"""What a tokenized row asks and what answer it expects, whatever layout and template it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import datasets
import numpy as np
from transformers import PreTrainedTokenizerBase

from regimen.finetune.tokens.outcome import IGNORED
from regimen.finetune.tokens.tokenrows import TokenRows

_OPENING = 32
"""Tokens that a text without a prompt is begun with, or a quarter of it where that is less."""


class Example(NamedTuple):
    """One question: the prompt's token ids, the expected answer as text, and the number of the row it came from."""

    prompt_ids: list[int]
    reference: str
    row: int


def token_rows(dataset: Any) -> TokenRows | None:
    """The rows of a prepared split, or None where it holds no tokens that can be asked (a hook made something else)."""
    if not isinstance(dataset, datasets.Dataset) or not len(dataset):
        return None
    names = set(dataset.column_names)
    return TokenRows(dataset) if {"input_ids", "labels"} <= names or "prompt_ids" in names else None


def examples(
    rows: TokenRows, tokenizer: PreTrainedTokenizerBase, indices: Iterable[int] | None = None
) -> Iterator[Example]:
    """Of the rows at `indices` (all), those that have an answer.

    A supervised row asks with all that stands before its first trained token and expects its first trained passage; a
    text that is trained as a whole is begun with its first tokens and expects the rest. A preference row expects the
    chosen answer, a judged one its answer if it was judged good.
    """
    for index in range(len(rows)) if indices is None else indices:
        row = rows[int(index)]
        prompt, answer = _judged(row) if "prompt_ids" in row else _supervised(row)
        if prompt and answer:
            yield Example(prompt, str(tokenizer.decode(answer, skip_special_tokens=True)), int(row["row"]))


def _judged(row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    answer: Sequence[int] = (
        row["chosen_ids"] if "chosen_ids" in row else row["completion_ids"] if row.get("label", True) else ()
    )
    return [int(token) for token in row["prompt_ids"]], [int(token) for token in answer]


def _supervised(row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    ids, labels = np.asarray(row["input_ids"]), np.asarray(row["labels"])
    if "attention_mask" in row:
        real = np.asarray(row["attention_mask"]).astype(bool)
        ids, labels = ids[real], labels[real]
    # The first token has nothing before it: its label trains nothing.
    trained = np.flatnonzero(labels[1:] != IGNORED) + 1
    if not len(trained):
        return [], []
    start = int(trained[0])
    if start == 1:
        start = max(1, min(_OPENING, len(ids) // 4))
    after = np.flatnonzero(labels[start:] == IGNORED)
    end = start + int(after[0]) if len(after) else len(ids)
    return ids[:start].tolist(), ids[start:end].tolist()
