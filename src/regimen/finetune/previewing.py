"""The preview of a run's data: its own rows, layout, template and settings."""

from __future__ import annotations

from regimen.errors import Problem, Refused, SpecError, did_you_mean
from regimen.finetune.preparing import encoder
from regimen.finetune.strategy import TrainingStrategy
from regimen.finetune.texttask import LanguageTask
from regimen.finetune.tokens.preview import PreviewRow, preview
from regimen.strategy import Strategy
from regimen.task import Task


def previewed(strategy: Strategy, task: Task, split: str, rows: int) -> list[PreviewRow]:
    """The first rows of a split as `strategy` would train them. Raises `Refused` for one that makes its own tokens."""
    if not isinstance(strategy, TrainingStrategy) or not isinstance(task, LanguageTask):
        raise Refused(Problem("preview", f"{task.name} is no text.", "Only fine-tuning data is made of tokens."))
    if strategy.prepares_itself:
        raise Refused(Problem("preview", f"{strategy.get_strategy_name()} makes its own tokens in prepare_dataset."))
    if split not in task.rows:
        raise SpecError(Problem("--split", f"there is no split {split!r}.", did_you_mean(split, task.rows)))
    data = task.rows[split]
    return preview(data, task.layout(strategy.layouts), encoder(strategy, task), range(min(rows, len(data))))
