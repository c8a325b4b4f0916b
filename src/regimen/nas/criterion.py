"""Criteria: what a classifier is trained to make small."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn


class Criterion:
    """The base of criteria; a plug-in of one file, its annotated class attributes are settings.

    A criterion with weights of its own (class centres) makes them in `head`; they are trained with the network.
    """

    name: ClassVar[str] = ""

    def num_outputs(self, num_classes: int) -> int:
        """What the network must give: one number a class, or an embedding."""
        return num_classes

    def head(self, num_classes: int) -> nn.Module | None:
        """Weights of the criterion, or None."""
        return None

    def losses(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        """One loss a row, (B,); `outputs` is (B, num_outputs)."""
        raise TypeError(f"{type(self).__name__} has no losses(outputs, targets, head)")

    def logits(self, outputs: Tensor, head: nn.Module | None) -> Any:
        """(B, C), whose largest number is the answer."""
        return outputs
