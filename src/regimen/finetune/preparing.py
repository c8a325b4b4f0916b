"""What the default hooks do: settings from a plain dict, the tuned model, rows as tokens."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from regimen.document import Document, check
from regimen.finetune.data.layouts import find_layout
from regimen.finetune.data.rows import as_rows
from regimen.finetune.tokens.encoder import Encoder
from regimen.finetune.tokens.outcome import TokenSettings
from regimen.finetune.tokens.prepare import Prepared, prepare
from regimen.finetune.tokens.template import Template
from regimen.published import NAMES, to_settings
from regimen.settings import settings_model

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy
    from regimen.finetune.texttask import LanguageTask

_DEFAULT_LENGTH = 1024
"""Tokens of a row where neither the user nor the model says."""


@dataclass
class Looked:
    """The splits as tokens, and how many rows of valid stand in train, too, by how they were compared."""

    splits: dict[str, Prepared] = field(default_factory=dict)
    overlap: dict[str, int] = field(default_factory=dict)


def with_published(strategy: TrainingStrategy, config: Mapping[str, Any]) -> TrainingStrategy:
    """A copy of the strategy with the settings that a plain dict of published names gives, checked."""
    from regimen.finetune.strategy import TrainingStrategy

    mine = {name: value for name, value in config.items() if name in NAMES or name in _settings_of(strategy)}
    given = to_settings(mine).get("strategy", {})
    if "lora_r" in config or "lora_alpha" in config or "lora_dropout" in config:
        given.setdefault("tuning", {}).setdefault("name", "lora")
    given.pop("name", None)
    model = settings_model(type(strategy), TrainingStrategy, name=strategy.name or "by hand", path=Path(__file__))
    checked = check(Document({"strategy": given}["strategy"], "config"), model)
    changed = copy.copy(strategy)
    for name in checked.model_fields_set - {"name"}:
        setattr(changed, name, getattr(checked, name))
    return changed


def _settings_of(strategy: TrainingStrategy) -> set[str]:
    return {
        name for part in type(strategy).__mro__ for name in inspect.get_annotations(part) if not name.startswith("_")
    }


def tuned_model(strategy: TrainingStrategy, model: nn.Module) -> nn.Module:
    """The model ready for training: k-bit layers prepared, the tuning method applied, checkpointing on if asked for."""
    quantized = bool(getattr(model, "is_quantized", False) or getattr(model, "is_loaded_in_4bit", False))
    if quantized:
        from peft import prepare_model_for_kbit_training

        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=strategy.gradient_checkpointing)
    tuned: nn.Module = strategy.tuning_method().apply(model)
    if strategy.gradient_checkpointing:
        base = getattr(tuned, "base_model", tuned)
        for part in (tuned, base):
            if hasattr(part, "enable_input_require_grads"):
                cast(Any, part).enable_input_require_grads()
                break
        cast(Any, tuned).gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return tuned


def tokenized(strategy: TrainingStrategy, task: LanguageTask, split: str) -> Prepared:
    """A split of the task as the strategy's tokens, with the report of what became of its rows. Made once."""
    made = strategy.looked.splits
    if split not in made:
        layout = task.layout(strategy.layouts)
        made[split] = prepare(task.rows[split], encoder(strategy, task), layout=layout, cache_dir=task.cache)
    return made[split]


def tokenized_by_hand(strategy: TrainingStrategy, data: Any, tokenizer: Any) -> Prepared:
    """Any rows, outside a run: a `datasets.Dataset` or a list of dicts."""
    rows = as_rows(data)
    template = Template.from_tokenizer(tokenizer) if tokenizer.chat_template else None
    settings = token_settings(strategy, longest(tokenizer))
    layout = find_layout(rows, None, strategy.layouts or None)
    return prepare(rows, Encoder(tokenizer, settings, template), layout=layout)


def encoder(strategy: TrainingStrategy, task: LanguageTask) -> Encoder:
    """What turns the task's rows into tokens, for training and for the preview."""
    template = Template.from_tokenizer(task.tokenizer) if task.tokenizer.chat_template else None
    return Encoder(task.tokenizer, token_settings(strategy, longest(task.tokenizer, task.model_config)), template)


def token_settings(strategy: TrainingStrategy, longest: int) -> TokenSettings:
    return TokenSettings(min(strategy.max_length or longest, longest), strategy.loss_on, strategy.overlength)


def longest(tokenizer: Any, model_config: Any = None) -> int:
    """Tokens that a model can take: its configuration's word, else the tokenizer's, else 1,024."""
    said = [getattr(model_config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None)]
    return min([length for length in said if length and length < 1_000_000], default=_DEFAULT_LENGTH)
