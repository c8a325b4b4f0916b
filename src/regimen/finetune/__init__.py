"""Fine-tuning of language models: what a strategy, a task or a tuning method is written with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regimen.finetune.data.rows import Rows, as_rows, read_rows
    from regimen.finetune.losses.head import target_logits
    from regimen.finetune.losses.logprobs import token_logprobs
    from regimen.finetune.losses.preference import sequence_logprobs
    from regimen.finetune.losses.supervised import sft_loss
    from regimen.finetune.preferring import PreferenceStrategy
    from regimen.finetune.strategy import TrainingStrategy
    from regimen.finetune.texttask import LanguageTask
    from regimen.finetune.tuning import Tuning

_HOMES = {
    "LanguageTask": "texttask",
    "PreferenceStrategy": "preferring",
    "Rows": "data.rows",
    "TrainingStrategy": "strategy",
    "Tuning": "tuning",
    "as_rows": "data.rows",
    "read_rows": "data.rows",
    "sequence_logprobs": "losses.preference",
    "sft_loss": "losses.supervised",
    "target_logits": "losses.head",
    "token_logprobs": "losses.logprobs",
}
__all__ = [
    "LanguageTask",
    "PreferenceStrategy",
    "Rows",
    "TrainingStrategy",
    "Tuning",
    "as_rows",
    "read_rows",
    "sequence_logprobs",
    "sft_loss",
    "target_logits",
    "token_logprobs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regimen.finetune' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"regimen.finetune.{_HOMES[name]}"), name)
