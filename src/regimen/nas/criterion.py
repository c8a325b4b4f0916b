"""Criteria: what a classifier, or a net that gives embeddings, is trained to make small."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Criterion:
    """The base of criteria; a plug-in of one file, its annotated class attributes are settings.

        head = criterion.head(num_classes)                       once; trained with the network where it is a module
        criterion.losses(net(inputs), targets, head).mean()      a step
        criterion.hits(net(inputs), targets, head)               how right each row is

    A criterion with weights of its own (class centres) makes them in `head`. Legend: B rows, C classes, D numbers of an
    embedding.
    """

    name: ClassVar[str] = ""

    def num_outputs(self, num_classes: int) -> int:
        """What the network must give: one number a class, or an embedding."""
        return num_classes

    def head(self, num_classes: int) -> nn.Module | None:
        """Weights of the criterion, drawn from torch's global generator, or None."""
        return None

    def rows_of_a_class(self) -> int:
        """How many rows of each class a training batch should hold; 1: rows are drawn without a look at their class."""
        return 1

    def losses(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        """One loss a row, (B,); `outputs` is (B, num_outputs), `targets` (B,) class numbers."""
        raise TypeError(f"{type(self).__name__} has no losses(outputs, targets, head)")

    def logits(self, outputs: Tensor, head: nn.Module | None) -> Tensor | None:
        """(B, C), whose largest number is the answer; None for a criterion that knows distances and no classes."""
        return outputs

    def hits(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        """How right each row is, (B,) in [0, 1]; without logits, whether it is `recognised` among the rows given."""
        logits = self.logits(outputs, head)
        if logits is None:
            return recognised(self.embeddings(outputs), targets)
        return (logits.argmax(dim=1) == targets).float()

    def distilled(self, outputs: Tensor, taught: Tensor, head: nn.Module | None) -> Tensor:
        """(B,): how far outputs are from those of another network, `taught`, through which no gradient flows.

        The cross-entropy with its probabilities as targets (Hinton et al., arXiv:1503.02531), in nats; where there are
        no logits, the squared distance of the embeddings.
        """
        logits, wanted = self.logits(outputs, head), self.logits(taught.detach(), head)
        if logits is None or wanted is None:
            return (self.embeddings(outputs) - self.embeddings(taught.detach())).square().sum(dim=1)
        return F.cross_entropy(logits, wanted.detach().softmax(dim=1), reduction="none")

    def embeddings(self, outputs: Tensor) -> Tensor:
        """(B, D), what two rows are compared by: faces of people that training has not seen."""
        return outputs


def recognised(embeddings: Tensor, classes: Tensor) -> Tensor:
    """(B,) 1.0 where the nearest other row is of the same class, by Euclidean distance of (B, D), else 0.0."""
    distance_BB = torch.cdist(embeddings, embeddings).fill_diagonal_(torch.inf)
    return (classes[distance_BB.argmin(dim=1)] == classes).float()
