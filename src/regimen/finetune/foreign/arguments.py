"""Makes the arguments of a transformers trainer fit the machine and the run, as they are made and before it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from huggingface_hub import constants
from transformers import Trainer, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from regimen.processes import num_launched

_OPTIMIZERS = {"adamw": "adamw_torch"}
"""Regimen's names, which `config["optim"]` holds where the user gave one, as transformers'."""

Note = Callable[[str], None]


def fit(arguments: TrainingArguments, note: Note, *, keep_half: bool = False) -> None:
    """Turns off what this machine cannot do and transformers would refuse; `note` gets a sentence for each.

    `keep_half`: the run itself asked for bf16 or fp16.
    """
    arguments.optim = _OPTIMIZERS.get(str(arguments.optim), arguments.optim)
    if torch.cuda.is_available() or torch.backends.mps.is_available() or keep_half:
        arguments.use_cpu = arguments.use_cpu or (keep_half and not torch.cuda.is_available())
        return
    arguments.use_cpu = arguments.use_cpu or num_launched() > 1  # else each process would train for itself
    for name in ("bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval"):
        if getattr(arguments, name, None):
            setattr(arguments, name, False)
            note(f"TrainingArguments.{name} is off: this machine has no GPU.")


@contextmanager
def fitting(note: Note, *, keep_half: bool = False) -> Iterator[None]:
    """While it lasts, all arguments that are made (TRL's are subclasses) fit the machine, and no telemetry is sent.

    TRL's configs ask for bf16 by default and are refused without a GPU; they are made in the user's file, so this is
    the one place where that can be mended.
    """
    made, silent = TrainingArguments.__post_init__, constants.HF_HUB_DISABLE_TELEMETRY

    def fitted(arguments: TrainingArguments) -> None:
        fit(arguments, note, keep_half=keep_half)
        made(arguments)

    TrainingArguments.__post_init__, constants.HF_HUB_DISABLE_TELEMETRY = fitted, True
    try:
        yield
    finally:
        TrainingArguments.__post_init__, constants.HF_HUB_DISABLE_TELEMETRY = made, silent


def hand_over(trainer: Trainer, folder: str, note: Note) -> None:
    """Takes logging, evaluation, saving and reporting from the trainer: the run does them."""
    arguments: Any = trainer.args
    if getattr(arguments, "load_best_model_at_end", False):
        note("TrainingArguments.load_best_model_at_end has no effect in a run: set checkpoint.best.")
    arguments.output_dir = folder
    arguments.eval_strategy, arguments.save_strategy = IntervalStrategy.NO, SaveStrategy.NO
    arguments.logging_strategy, arguments.logging_first_step = IntervalStrategy.NO, False
    arguments.load_best_model_at_end, arguments.push_to_hub = False, False
    arguments.logging_nan_inf_filter = False  # it would replace a loss that is not finite by the mean of earlier ones
    arguments.restore_callback_states_from_checkpoint = True
    arguments.ignore_data_skip = False
    arguments.disable_tqdm = True
    foreign = tuple({*INTEGRATION_TO_CALLBACK.values(), ProgressCallback, PrinterCallback})
    for callback in list(trainer.callback_handler.callbacks):
        if isinstance(callback, foreign):
            trainer.remove_callback(callback)
            if not isinstance(callback, ProgressCallback | PrinterCallback):
                note(f"{type(callback).__name__} of the trainer is off: trackers are set in log.trackers.")
