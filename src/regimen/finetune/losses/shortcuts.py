"""Whether a shortcut gives the same numbers on this very model: each check returns a relative difference.

About 1e-7 in float32 and 1e-2 in bfloat16 is rounding. Anything larger means that the model must take the plain way:
an architecture may read positions, masks or hidden states in a manner of its own, and no list of names can be complete.
All checks run one small batch in evaluation mode and without gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from regimen.finetune.batches.collate import Batch, Row, collate, collate_packed
from regimen.finetune.batches.pairs import PairRow, collate_pairs
from regimen.finetune.losses.head import ALL, PICKED, Way
from regimen.finetune.losses.preference import AnswerLogprobs, sequence_logprobs
from regimen.finetune.losses.supervised import sft_loss

REFUSED = float("inf")
"""The difference of a model that raises an error when it is asked to take the shortcut."""


def check_way(model: nn.Module, batch: Batch, way: Way) -> float:
    """A way to the logits of the trained tokens, against the model's full logits: the summed loss of one batch."""
    with _Evaluation(model):
        return _difference(*(sft_loss(model, batch, one).sum for one in (way, ALL)))


def check_answers_way(model: nn.Module, rows: Sequence[PairRow], way: Way, pad_id: int = 0) -> float:
    """The same where rows are pairs of answers: the largest difference of an answer."""
    device = next(model.parameters()).device
    with _Evaluation(model):
        batch = collate_pairs(rows, pad_id, shared=False).to(device)
        return _difference(*(_both(sequence_logprobs(model, batch, one)) for one in (way, ALL)))


def check_packing(model: nn.Module, bins: Sequence[Sequence[Row]], pad_id: int = 0, way: Way = PICKED) -> float:
    """Rows packed into these bins, against each row padded: the summed loss.

    Pass bins as they will be trained: under flash attention one bin keeps rows apart and several do not.
    """
    device = next(model.parameters()).device
    with _Evaluation(model):
        plain = sft_loss(model, collate([row for rows in bins for row in rows], pad_id).to(device)).sum
        try:
            packed = sft_loss(model, collate_packed(bins, pad_id).to(device), way).sum
        except (TypeError, ValueError, RuntimeError):
            return REFUSED
        return _difference(packed, plain)


def check_shared_prompt(model: nn.Module, rows: Sequence[PairRow], pad_id: int = 0, way: Way = PICKED) -> float:
    """The prompt encoded once for both answers, against a row for each answer: the largest difference of an answer.

    Sliding windows, ALiBi and layers other than attention do not allow it. A window shows only where rows are longer
    than it, so pass the longest rows.
    """
    device = next(model.parameters()).device
    with _Evaluation(model):
        separate = sequence_logprobs(model, collate_pairs(rows, pad_id, shared=False).to(device))
        try:
            shared = sequence_logprobs(model, collate_pairs(rows, pad_id).to(device), way)
        except (TypeError, ValueError, RuntimeError):
            return REFUSED
        return _difference(_both(shared), _both(separate))


class _Evaluation:
    """Evaluation mode and no gradients, and back to what was before."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.no_grad = torch.no_grad()

    def __enter__(self) -> None:
        self.was_training = self.model.training
        self.model.eval()
        self.no_grad.__enter__()

    def __exit__(self, *error: object) -> None:
        self.no_grad.__exit__(None, None, None)
        self.model.train(self.was_training)


def _both(logprobs: AnswerLogprobs) -> torch.Tensor:
    return torch.cat([logprobs.chosen_B, logprobs.rejected_B])


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(((one - other).abs() / other.abs().clamp(min=1e-12)).max())
