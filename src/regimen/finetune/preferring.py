"""The base of strategies that learn from pairs of answers: rows as pairs, the prompt encoded once, the loss theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import nn

from regimen.finetune.batches.pairs import PairBatch, collate_pairs
from regimen.finetune.losses.preference import AnswerLogprobs, sequence_logprobs
from regimen.finetune.losses.probes import answers_way, shares_prompts
from regimen.finetune.losses.stored import stored_reference
from regimen.finetune.strategy import TrainingStrategy


class PreferenceStrategy(TrainingStrategy):
    """Rows with a chosen and a rejected answer. A subclass overrides `compute_loss` and asks `answer_logprobs`."""

    layouts: ClassVar[tuple[str, ...]] = ("preference",)
    likelihood: ClassVar[bool] = False

    def get_required_dataset_fields(self) -> list[str]:
        return ["chosen", "rejected"]

    def lengths(self, rows: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.asarray(rows.lengths("prompt_ids", "chosen_ids", "rejected_ids"))

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int) -> PairBatch:
        """The pairs of a batch; a reference's log-probabilities travel with them where they were stored."""
        return collate_pairs(rows, pad_id, shared=self._shared, reference=stored_reference(rows))

    def answer_logprobs(self, model: nn.Module, batch: PairBatch) -> AnswerLogprobs:
        """Summed log-probabilities (nats) and numbers of tokens of both answers of each pair, differentiable."""
        return sequence_logprobs(model, batch, self._way)

    def before_training(self, model: nn.Module, train: Any, valid: Any, pad_id: int) -> None:
        """Finds out whether this model can share prompts between answers and skip the logits of prompts."""
        self._way = answers_way(self, model, train, pad_id)
        self._shared = shares_prompts(self, model, train, pad_id, self._way)

    _shared = True
