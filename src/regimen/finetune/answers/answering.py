"""Numbers about the answers that a model generates for the rows of a split, where task or strategy asks for any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from regimen.errors import Problem, StrategyFailed
from regimen.finetune.answers.examples import Example, examples
from regimen.finetune.answers.generate import answers, stop_ids
from regimen.finetune.answers.metrics import scores, wanted
from regimen.finetune.session import Session
from regimen.finetune.tokens.tokenrows import TokenRows

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy


class Answering:
    """Has one model answer the rows of one split, as often as asked; generates nothing where no number needs it."""

    def __init__(
        self,
        strategy: TrainingStrategy,
        model: nn.Module,
        rows: TokenRows,
        tokenizer: PreTrainedTokenizerBase,
        session: Session,
    ) -> None:
        self.strategy, self.model, self.tokenizer, self.session = strategy, model, tokenizer, session
        self.metrics = wanted(session.task) if session.task else ()
        self.asked: list[Example] = []
        if self.metrics or _judges(strategy):
            limit = session.run.settings.evaluate.max_rows
            self.asked = list(examples(rows, tokenizer, range(min(len(rows), limit or len(rows)))))

    def values(self) -> dict[str, float]:
        """The metrics by name, the same on every process; empty where none is asked for."""
        if not self.asked:
            return {}
        predictions, references = self._predictions(), [example.reference for example in self.asked]
        found = scores(self.metrics, predictions, references)
        return found | _numbers(self.strategy.compute_metrics(predictions, references), self.strategy)

    def _predictions(self) -> list[str]:
        processes = self.session.processes
        mine = self.asked[processes.rank :: processes.world]
        texts = answers(
            self.model,
            self.tokenizer,
            [example.prompt_ids for example in mine],
            max_new_tokens=self.session.task.max_new_tokens if self.session.task else 64,
            stop_ids=stop_ids(self.tokenizer, self.model),
            batch_size=self.strategy.eval_batch_size or 2 * self.strategy.batch_size,
        )
        shares = processes.gathered(texts)
        return [shares[index % processes.world][index // processes.world] for index in range(len(self.asked))]


def _judges(strategy: TrainingStrategy) -> bool:
    """Whether the strategy computes metrics of its own."""
    from regimen.finetune.strategy import TrainingStrategy

    return type(strategy).compute_metrics is not TrainingStrategy.compute_metrics


def _numbers(made: Any, strategy: TrainingStrategy) -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in dict(made or {}).items()}
    except (TypeError, ValueError) as error:
        place = f"{type(strategy).__name__}.compute_metrics"
        raise StrategyFailed(Problem(place, f"returned {made!r:.200}.", "Return a dict of numbers.")) from error
