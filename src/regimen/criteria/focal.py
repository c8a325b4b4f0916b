"""Focal loss: rows that are right already count less (Lin et al., arXiv:1708.02002).

The paper weighs the classes of detection, `alpha` for an object and `1 - alpha` for none; here, as in OSNASLib, there
are many classes, and alpha is one factor for all.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.criterion import Criterion


class FocalLoss(Criterion):
    """Cross-entropy times `alpha (1 - p)^gamma`, p the right class's probability (Lin et al., arXiv:1708.02002)."""

    name = "focal"

    gamma: Annotated[
        float, Field(ge=0, le=10, description="how much less rows count that are right; 0 is cross-entropy")
    ] = 2.0
    alpha: Annotated[float, Field(gt=0, description="factor of the whole loss")] = 1.0

    def losses(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        log_p_B = F.log_softmax(outputs, dim=1).gather(1, targets.unsqueeze(1)).squeeze(1)
        # Where p rounds to 1, a power below 1 has an infinite slope, and that times log p = 0 would be NaN.
        wrong_B = (-log_p_B.expm1()).clamp_min(torch.finfo(outputs.dtype).tiny)
        return -self.alpha * wrong_B**self.gamma * log_p_B
