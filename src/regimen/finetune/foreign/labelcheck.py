"""Finds labels that train something else than a user meant: not those of the inputs, or padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from regimen.finetune.tokens.outcome import IGNORED

_ROWS = 64
"""Looked at; a mistake in a hook is in every row."""


def label_warnings(dataset: Any, tokenizer: Any) -> Iterator[str]:
    """Sentences about the first rows of what a `prepare_dataset` made with `input_ids` and `labels`; else none."""
    if not {"input_ids", "labels"} <= set(getattr(dataset, "column_names", None) or ()):
        return
    rows = [dataset[index] for index in range(min(_ROWS, len(dataset)))]
    pairs = [(np.asarray(row["input_ids"]), np.asarray(row["labels"])) for row in rows]
    if any(inputs.shape != labels.shape for inputs, labels in pairs):
        yield "warning: labels and input_ids of a row differ in length; they are compared position by position."
        return
    trained = sum(int((labels != IGNORED).sum()) for _, labels in pairs)
    other = sum(int(((labels != IGNORED) & (labels != inputs)).sum()) for inputs, labels in pairs)
    if trained and other > trained / 10:
        yield (
            f"warning: {other / trained:.0%} of the trained labels differ from the input_ids at their place. A causal "
            "language model predicts each next token of its input: labels are a copy of input_ids, -100 where nothing "
            "is trained."
        )
    pad, padded = tokenizer.pad_token_id, 0
    for _, labels in pairs:
        run = np.flatnonzero(labels[::-1] != pad)
        padded += (int(run[0]) if len(run) else len(labels)) if pad is not None else 0
    ends = len(pairs) if pad == tokenizer.eos_token_id else 0  # then one at the end of each row is the end token
    if padded > ends + trained / 10:
        yield f"warning: {(padded - ends) / trained:.0%} of the trained labels are padding; set them to -100."
