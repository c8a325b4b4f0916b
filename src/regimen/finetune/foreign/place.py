"""Where a run is that transformers trains, how far it goes, and the step that must not be taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from regimen.best import BestSoFar
from regimen.errors import Diverged, Problem
from regimen.spec import Budget

if TYPE_CHECKING:
    from transformers import Trainer, TrainingArguments


@dataclass
class Place(BestSoFar):
    """Where a run is that transformers trains. A checkpoint holds it as it is."""

    call: int = 0
    """Which trainer of the run, from 0."""
    steps: int = 0
    """Taken by the trainers before this one, and by this one when it has ended; likewise epochs."""
    epochs: float = 0.0
    tokens: int = 0
    """Read by all trainers up to now, padding not counted; likewise passes."""
    passes: int = 0
    passes_before: int = 0
    evaluated: int = -1
    ended: bool = False

    def next(self) -> None:
        """To the beginning of the next trainer."""
        self.call, self.passes_before, self.ended = self.call + 1, self.passes, False


def horizon(budget: Budget, at: Place, last_step: int | None, num_batches: int | None, accumulate: int) -> int | None:
    """How many steps of its own the present trainer takes in all; None if the budget limits neither steps nor epochs.

    `last_step` is the run's step at which `budget.steps` ends the trainer, `num_batches` those of an epoch, if it has
    an end.
    """
    limits: list[int] = []
    if budget.epochs is not None and num_batches is not None:
        limits.append(math.ceil(budget.epochs * math.ceil(num_batches / accumulate) - 1e-9))
    if last_step is not None:
        limits.append(last_step - at.steps)
    if budget.passes is not None:
        limits.append(math.ceil((budget.passes - at.passes_before) / accumulate))
    return min(limits, default=None)


def without_horizon(arguments: TrainingArguments) -> str:
    """What a reader of the record must know where there is no horizon."""
    steps, epochs = arguments.max_steps, arguments.num_train_epochs
    own = f"{steps} steps" if steps > 0 else f"{epochs:g} epochs"
    text = "the budget sets neither steps nor epochs: the learning rate follows the trainer's own"
    return f"{text} {own}, where it ends at the latest."


def at_boundary(trainer: Trainer) -> bool:
    """Whether nothing generated is left over: a trainer of TRL that generates uses each batch for several steps."""
    period = getattr(trainer.args, "steps_per_generation", None) or 1
    period *= getattr(trainer, "num_iterations", 1)
    return int(getattr(trainer, "_step", 0)) % period == 0


def num_tokens(batch: Any, pad_id: int | None) -> int:
    """Tokens of a batch without its padding; 0 for a batch of something else, such as prompts to generate from."""
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    if not isinstance(ids, torch.Tensor):
        return 0
    mask = batch.get("attention_mask")
    if isinstance(mask, torch.Tensor):
        return int(mask.sum())
    return int((ids != pad_id).sum()) if pad_id is not None else ids.numel()


def refuse_what_is_not_finite(step: int, loss: float, norm: float, *, overflows: bool = False) -> None:
    """Raises `Diverged` for step `step`. `overflows`: the gradient may be infinite, the step is skipped then."""
    if math.isfinite(loss) and (math.isfinite(norm) or overflows):
        return
    what = (
        f"the loss is {loss}"
        if not math.isfinite(loss)
        else f"the norm of the gradient is {norm} (the loss is {loss:.6g})"
    )
    fix = "The step was not made. Look at the rows, lower the learning rate, or clip the gradient."
    raise Diverged(Problem(f"step {step}", f"{what}.", fix), step)
