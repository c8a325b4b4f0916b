"""What a run will take, as far as it can be told beforehand: memory from the model's configuration, steps from data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from regimen.document import Document
from regimen.finetune.fitting import free_memory
from regimen.finetune.memory import estimate_memory
from regimen.finetune.preparing import tokenized
from regimen.finetune.strategy import TrainingStrategy
from regimen.finetune.texttask import LanguageTask
from regimen.prepared import Prepared, prepare


def estimate(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Memory at the fullest moment, and how much there is to train; null where it cannot be told.

    Takes about a second: the model is run once without its content.
    """
    prepared = prepare(Document(dict(settings)))
    return {**_of(prepared), "settings": prepared.spec.model_dump(mode="json")}


def _of(prepared: Prepared) -> dict[str, Any]:
    free = free_memory(prepared.spec.device)
    if not isinstance(prepared.strategy, TrainingStrategy) or not isinstance(prepared.task, LanguageTask):
        return {"memory": None, "free_memory": free, "steps": _steps(prepared, None), "tokens": None}
    if prepared.errors or prepared.strategy.prepares_itself:
        return {"memory": None, "free_memory": free, "steps": None, "tokens": None}
    report = tokenized(prepared.strategy, prepared.task, "train").report
    on_gpu = torch.cuda.is_available() and prepared.spec.device != "cpu"
    precision = prepared.spec.precision.replace("auto", "bf16" if on_gpu else "fp32")
    memory = estimate_memory(
        prepared.strategy,
        prepared.task.model_config,
        report.lengths.get("max", 1),
        trained=report.trained_fraction,
        device="cuda" if on_gpu else "cpu",
        precision=precision,
    )
    steps = _steps(prepared, report.kept)
    epochs = steps * _rows_a_step(prepared) / report.kept if steps else None
    return {
        "memory": memory.to_json(),
        "free_memory": free,
        "steps": steps,
        "tokens": int(report.tokens * epochs) if epochs else None,
    }


def _rows_a_step(prepared: Prepared) -> int:
    strategy: Any = prepared.strategy
    return int(strategy.batch_size * strategy.accumulate)


def _steps(prepared: Prepared, rows: int | None) -> int | None:
    """Steps until the budget is spent, where steps or epochs limit it."""
    limits = prepared.spec.budget.limits()
    known = [limits["steps"]] if "steps" in limits else []
    if "epochs" in limits and rows is not None:
        known.append(math.ceil(rows / _rows_a_step(prepared)) * limits["epochs"])
    return math.ceil(min(known)) if known else None
