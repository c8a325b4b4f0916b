"""Calls a `create_trainer` that a user wrote, and trains whatever it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from regimen.errors import Problem, StrategyFailed
from regimen.finetune.foreign.adapter import CURRENT, Adapter, is_trainer
from regimen.finetune.foreign.arguments import fitting
from regimen.finetune.foreign.labelcheck import label_warnings
from regimen.finetune.foreign.seeding import seed_everything
from regimen.finetune.foreign.stages import as_dataset, loops_over, shares, stages_of
from regimen.trainer import Trainer

if TYPE_CHECKING:
    from regimen.finetune.session import Session
    from regimen.finetune.strategy import TrainingStrategy


class Trained(NamedTuple):
    model: nn.Module
    metrics: dict[str, float]


def train_foreign(
    strategy: TrainingStrategy,
    model: nn.Module,
    train: Any,
    valid: Any,
    tokenizer: Any,
    config: Mapping[str, Any],
    session: Session,
) -> Trained:
    """A transformers or TRL trainer goes through the adapter; a model is trained already; anything else has `train()`.

    A list of stages goes to a hook that loops over them, and otherwise stage by stage. Raises `StrategyFailed` for a
    hook that returns none of these.
    """
    stages = stages_of(train)
    whole = stages is None or loops_over(type(strategy).create_trainer, "train_dataset")
    parts = [as_dataset(train) if stages is None else stages] if whole else stages
    assert parts is not None
    adapter = Adapter(session, strategy, tokenizer.pad_token_id, shares(stages) if stages else ())
    for warning in label_warnings(parts[0] if stages is None or not whole else stages[0], tokenizer):
        adapter.note(warning)
    seed_everything(session.run.seed_for("trainer"))
    metrics: dict[str, float] = {}
    with _inside(adapter):
        for part in parts:
            made = strategy.create_trainer(model, part, valid, tokenizer, config, None)
            model, metrics = _train(made, model, adapter)
    return Trained(model, adapter.finished() if adapter.calls else metrics)


def _train(made: Any, model: nn.Module, adapter: Adapter) -> Trained:
    if is_trainer(made):
        adapter.train(made)
        return Trained(made.model, {})
    if isinstance(made, nn.Module):
        if not adapter.calls:
            adapter.note(
                "create_trainer trained the model itself, by a loop of its own: "
                "nothing of it is recorded, and a resume runs it again."
            )
        return Trained(made, {})
    if not callable(getattr(made, "train", None)):
        text = f"returned {type(made).__name__}."
        fix = "Return something with train(), or the model if it is trained already."
        raise StrategyFailed(Problem(f"{type(adapter.strategy).__name__}.create_trainer", text, fix))
    if not isinstance(made, Trainer):
        adapter.note(
            f"{type(made).__name__} is a trainer of its own: the budget does not limit it, and a resume runs it again."
        )
    result = made.train()
    numbers = (
        {key: float(value) for key, value in result.items() if isinstance(value, int | float)}
        if isinstance(result, Mapping)
        else {}
    )
    trained = getattr(made, "model", model)
    return Trained(trained if isinstance(trained, nn.Module) else model, numbers)


@contextmanager
def _inside(adapter: Adapter) -> Iterator[None]:
    """While hooks make and train trainers: they find the adapter, and their arguments fit the machine."""
    before = CURRENT.set(adapter)
    half = adapter.session.run.settings.precision in ("bf16", "fp16")
    try:
        with fitting(adapter.note, keep_half=half):
            yield
    finally:
        CURRENT.reset(before)
