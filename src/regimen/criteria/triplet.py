"""Triplet loss with triplets found in the batch (Schroff et al., arXiv:1503.03832; Hermans et al., arXiv:1703.07737).

A triplet is an anchor, a positive of its class and a negative of another; its loss is
`max(0, distance(anchor, positive) - distance(anchor, negative) + margin)`. OSNASLib draws for each pair a random
negative that violates the margin (`mining: random`), and fails on a batch that has no pair; here such a batch has the
loss 0. Mining compares all rows with all: B x B numbers for `hard`, B x B x B for the others.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.criterion import Criterion

Mining = Literal["hard", "semi_hard", "random", "all"]


class OnlineTripletLoss(Criterion):
    """Rows of a class nearer to each other than to any other, by a margin (Schroff et al., arXiv:1503.03832).

    The loss of a row is that of the triplets it is the anchor of: the hardest alone, or the mean over those chosen. It
    is 0 where there is none, so `rows_per_class` should be above 1.
    """

    name = "triplet"

    embedding: Annotated[int, Field(ge=2, le=4096, description="numbers of an embedding")] = 128
    margin: Annotated[float, Field(gt=0, description="by how much negatives must be farther than positives")] = 0.2
    mining: Annotated[
        Mining,
        Field(
            description="triplets of an anchor: for each positive the nearest negative that is farther but within the "
            "margin (semi_hard); its farthest positive and nearest negative (hard: learns slowly at first, or not at "
            "all); for each positive a random negative that violates the margin (random); all that violate it (all)"
        ),
    ] = "semi_hard"
    squared: Annotated[bool, Field(description="compare squared distances, as FaceNet does")] = True
    normalize: Annotated[bool, Field(description="scale embeddings to length 1 first")] = True
    rows_per_class: Annotated[int, Field(ge=2, description="rows of each class in a training batch")] = 4

    def num_outputs(self, num_classes: int) -> int:
        return self.embedding

    def rows_of_a_class(self) -> int:
        return self.rows_per_class

    def logits(self, outputs: Tensor, head: nn.Module | None) -> Tensor | None:
        return None

    def embeddings(self, outputs: Tensor) -> Tensor:
        return F.normalize(outputs) if self.normalize else outputs

    def losses(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        distance_BB = self.distances(self.embeddings(outputs))
        same_BB = targets.unsqueeze(0) == targets.unsqueeze(1)
        positive_BB = same_BB & ~torch.eye(len(targets), dtype=torch.bool, device=targets.device)
        if self.mining == "hard":
            return self._hardest(distance_BB, positive_BB, ~same_BB)
        # Axes: anchor, positive, negative.
        loss_BBB = distance_BB.unsqueeze(2) - distance_BB.unsqueeze(1) + self.margin
        candidate_BBB = positive_BB.unsqueeze(2) & ~same_BB.unsqueeze(1) & (loss_BBB.detach() > 0)
        chosen_BBB = self._chosen(loss_BBB.detach(), candidate_BBB)
        total_B = torch.where(chosen_BBB, loss_BBB, 0.0).sum(dim=(1, 2))
        return total_B / chosen_BBB.sum(dim=(1, 2)).clamp_min(1)

    def distances(self, embeddings: Tensor) -> Tensor:
        """Between all rows, (B, B). By differences: a product of matrices would lose near rows to rounding."""
        plain_BB = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
        return plain_BB**2 if self.squared else plain_BB

    def _hardest(self, distance_BB: Tensor, positive_BB: Tensor, negative_BB: Tensor) -> Tensor:
        farthest_B = distance_BB.masked_fill(~positive_BB, -torch.inf).amax(dim=1)
        nearest_B = distance_BB.masked_fill(~negative_BB, torch.inf).amin(dim=1)
        whole_B = positive_BB.any(dim=1) & negative_BB.any(dim=1)
        return torch.where(whole_B, farthest_B - nearest_B + self.margin, 0.0).relu()

    def _chosen(self, loss_BBB: Tensor, candidate_BBB: Tensor) -> Tensor:
        """Which triplets count."""
        if self.mining == "all":
            return candidate_BBB
        if self.mining == "semi_hard":
            candidate_BBB = candidate_BBB & (loss_BBB < self.margin)
            rank_BBB = loss_BBB
        else:
            rank_BBB = torch.rand_like(loss_BBB)
        best_BBK = rank_BBB.masked_fill(~candidate_BBB, -torch.inf).argmax(dim=2, keepdim=True)
        return candidate_BBB & torch.zeros_like(candidate_BBB).scatter(2, best_BBK, True)
