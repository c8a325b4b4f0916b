"""Numbers about a model on the valid rows: loss, perplexity, token accuracy, weighted by token and not by batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from regimen.finetune.answers.answering import Answering
from regimen.finetune.batches.order import sorted_batches
from regimen.finetune.session import Session
from regimen.finetune.tokens.tokenrows import TokenRows
from regimen.loading import on_device
from regimen.strategy import Loss

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy


class Evaluation:
    """Evaluates one model on one split, as often as asked."""

    def __init__(
        self,
        strategy: TrainingStrategy,
        model: nn.Module,
        rows: TokenRows,
        tokenizer: Any,
        session: Session,
        loss: Callable[[nn.Module, Any], Loss],
        split: str = "valid",
    ) -> None:
        self.strategy, self.model, self.rows, self.tokenizer, self.session, self.loss, self.split = (
            strategy,
            model,
            rows,
            tokenizer,
            session,
            loss,
            split,
        )
        self.answering = Answering(strategy, model, rows, tokenizer, session)

    def values(self) -> dict[str, float]:
        """`valid/loss` and its companions, the same on every process. Called in evaluation mode, without gradients."""
        sums: dict[str, list[float]] = {}
        for batch in self._batches():
            loss = self.loss(self.model, on_device(batch, self.session.processes.device))
            for name, (total, count) in {"loss": (loss.sum, loss.count), **loss.metrics}.items():
                entry = sums.setdefault(name, [0.0, 0.0])
                entry[0], entry[1] = entry[0] + float(total), entry[1] + float(count)
        merged = self.session.processes.merged(sums)
        means = {name: total / count if count else math.nan for name, (total, count) in merged.items()}
        if self.strategy.likelihood and "loss" in means:
            means["perplexity"] = math.exp(min(means["loss"], 700.0))
        means |= self.answering.values()
        # All processes compare these with the best so far, so all need those of the first.
        return self.session.processes.agreed({f"{self.split}/{name}": value for name, value in means.items()})

    def _batches(self) -> Any:
        limit = self.session.run.settings.evaluate.max_rows
        lengths = self.strategy.lengths(self.rows)[:limit]
        size = self.strategy.eval_batch_size or 2 * self.strategy.batch_size
        pad_id = self.tokenizer.pad_token_id or 0
        processes = self.session.processes
        for indices in sorted_batches(lengths, size)[processes.rank :: processes.world]:
            yield self.strategy.collate([self.rows[int(index)] for index in indices], pad_id)
