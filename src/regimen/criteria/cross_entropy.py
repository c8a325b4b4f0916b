"""Cross-entropy: the negative logarithm of the probability of what is right, a class or each token of a row.

B rows, C classes, T places for tokens, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.criterion import Criterion

UNTRAINED = -100
"""The target of a place whose token is not trained."""


class CrossEntropyLoss(Criterion):
    """Cross-entropy of the softmax of the outputs, in nats.

    Outputs are (B, C) with targets (B,), or (B, T, V) with targets (B, T): then a row's loss is the mean over its
    trained tokens (target -100: not trained), and it is as right as the part of them that the largest logit gets right.
    """

    name = "cross_entropy"

    def losses(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        if outputs.dim() == 2:
            return F.cross_entropy(outputs, targets, reduction="none")
        losses_BT = F.cross_entropy(outputs.transpose(1, 2), targets, ignore_index=UNTRAINED, reduction="none")
        return _mean_of_trained(losses_BT, targets)

    def hits(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        if outputs.dim() == 2:
            return super().hits(outputs, targets, head)
        return _mean_of_trained((outputs.argmax(dim=2) == targets).to(outputs.dtype), targets)

    def distilled(self, outputs: Tensor, taught: Tensor, head: nn.Module | None) -> Tensor:
        """For tokens, the mean over all places of a row."""
        if outputs.dim() == 2:
            return super().distilled(outputs, taught, head)
        wanted_BTV = taught.detach().softmax(dim=2)
        return -(wanted_BTV * outputs.log_softmax(dim=2)).sum(dim=2).mean(dim=1)


def _mean_of_trained(values_BT: Tensor, targets_BT: Tensor) -> Tensor:
    trained_BT = targets_BT != UNTRAINED
    return values_BT.masked_fill(~trained_BT, 0.0).sum(dim=1) / trained_BT.sum(dim=1).clamp_min(1)
