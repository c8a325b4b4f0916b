"""Softmax over angles to class centres, with a margin: ArcFace (Deng et al., arXiv:1801.07698) and CosFace (Wang et
al., arXiv:1801.09414).

Embeddings and class centres are scaled to length 1; a row's logits are `scale` times their cosines, the cosine of its
own class made smaller by the margin. With margin 0 this is what OSNASLib means by `FaceCELoss`, whose centres are
normalised across the classes instead of each on its own, and whose embeddings only if asked: that is not copied.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.criterion import Criterion


class FaceCELoss(Criterion):
    """Cross-entropy of cosines to class centres, with a margin on the angle (ArcFace, arXiv:1801.07698) or the cosine.

    The margin is a part of the loss in evaluation, too; it is none of the answer (`logits`).
    """

    name = "angular"

    embedding: Annotated[int, Field(ge=2, le=4096, description="numbers of an embedding")] = 128
    margin_on: Annotated[
        Literal["angle", "cosine"],
        Field(description="the margin is added to the angle in radians (ArcFace), or taken off the cosine (CosFace)"),
    ] = "angle"
    margin: Annotated[
        float, Field(ge=0, lt=math.pi / 2, description="0: none; ArcFace has 0.5 on the angle, CosFace 0.35")
    ] = 0.5
    scale: Annotated[float, Field(gt=0, description="of the cosines; with few classes 16 to 32 trains better")] = 64.0

    def num_outputs(self, num_classes: int) -> int:
        return self.embedding

    def head(self, num_classes: int) -> nn.Module:
        return ClassCentres(num_classes, self.embedding)

    def losses(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        cosine_BC = self._cosines(outputs, head)
        class_BK = targets.unsqueeze(1)  # K = 1
        own_BK = cosine_BC.gather(1, class_BK)
        lowered_BC = cosine_BC.scatter(1, class_BK, self._lowered(own_BK))
        return F.cross_entropy(self.scale * lowered_BC, targets, reduction="none")

    def logits(self, outputs: Tensor, head: nn.Module | None) -> Tensor:
        return self.scale * self._cosines(outputs, head)

    def embeddings(self, outputs: Tensor) -> Tensor:
        return F.normalize(outputs)

    def _cosines(self, outputs: Tensor, head: nn.Module | None) -> Tensor:
        assert head is not None, "made by head(num_classes)"
        return cast(Tensor, head(self.embeddings(outputs)))

    def _lowered(self, cosine: Tensor) -> Tensor:
        """The cosine of a row's own class with the margin; it grows with the cosine everywhere."""
        if self.margin_on == "cosine":
            return cosine - self.margin
        # The sine has an infinite slope where the angle is 0 or pi.
        sine = (1 - cosine**2).clamp_min(torch.finfo(cosine.dtype).eps).sqrt()
        moved = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        # Beyond pi the cosine of the angle would rise again: there, as in the authors' code, a straight line below -1.
        beyond = cosine - math.sin(self.margin) * self.margin
        return torch.where(cosine > -math.cos(self.margin), moved, beyond)


class ClassCentres(nn.Module):
    """A direction for each class."""

    def __init__(self, num_classes: int, embedding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, embedding))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Cosines (B, C) of embeddings (B, D) that have length 1."""
        return F.linear(embeddings, F.normalize(self.weight))
