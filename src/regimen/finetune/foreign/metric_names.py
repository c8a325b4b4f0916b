"""What transformers and TRL log, under a record's names: `eval_loss` is `valid/loss`, `learning_rate` is `train/lr`."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

_NAMES = {"learning_rate": "lr"}
_TIMES = ("runtime", "per_second", "_time", "tokens_per_s")
"""Ends of names of what differs from run to run."""


def renamed(logs: Mapping[str, Any]) -> dict[str, float]:
    """Numbers under `train/`, `valid/` and `time/`; anything else is left out.

    >>> renamed({"loss": 1.5, "learning_rate": 0.1, "epoch": 0.5})
    {'train/loss': 1.5, 'train/lr': 0.1, 'train/epoch': 0.5}
    >>> renamed({"eval_loss": 1.5, "eval_runtime": 3.0, "epoch": 0.5})
    {'valid/loss': 1.5, 'time/valid_runtime': 3.0}
    """
    evaluation = any(key.startswith("eval_") for key in logs)
    found: dict[str, float] = {}
    for key, value in logs.items():
        if isinstance(value, bool) or not isinstance(value, Real) or (evaluation and not key.startswith("eval_")):
            continue
        split, name = ("valid", key[len("eval_") :]) if evaluation else ("train", _NAMES.get(key, key))
        path = f"time/{name if split == 'train' else f'valid_{name}'}" if name.endswith(_TIMES) else f"{split}/{name}"
        found[path] = float(value)
    return found


def is_summary(logs: Mapping[str, Any]) -> bool:
    """Whether it is the summary after training, whose means are those of one process and not of the run."""
    return "train_loss" in logs
