"""Test problems that predict tokens: a row is a sequence, and its loss is the mean over its trained tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from regimen.benchmark.problem import Batch, Problem

UNTRAINED = -100
"""The target of a place that is not trained; every row has at least one that is."""


class TokenProblem(Problem):
    """The base of problems whose inputs (B, T) and targets (B, T) are token ids and whose net gives logits (B, T, V).

    Every row weighs the same, however many of its tokens are trained. Accuracy is the part of the trained tokens that
    the largest logit gets right.
    """

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        targets_BT = batch.targets
        losses_BT = F.cross_entropy(outputs.transpose(1, 2), targets_BT, ignore_index=UNTRAINED, reduction="none")
        return losses_BT.sum(dim=1) / (targets_BT != UNTRAINED).sum(dim=1)

    def hits(self, outputs: Any, batch: Batch) -> Tensor | None:
        logits_BTV: Tensor = outputs
        right_BT = logits_BTV.argmax(dim=2) == batch.targets
        return right_BT.sum(dim=1) / (batch.targets != UNTRAINED).sum(dim=1)
