"""Cross-entropy against smoothed labels (Szegedy et al., arXiv:1512.00567).

OSNASLib fixes the smoothing at 0.1, which is the default here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.criterion import Criterion


class LabelSmoothingCrossEntropy(Criterion):
    """Cross-entropy where a part of the target is spread over all classes (Szegedy et al., arXiv:1512.00567)."""

    name = "label_smoothing"

    smoothing: Annotated[
        float, Field(ge=0, lt=1, description="part of the target that all classes share, the right one included")
    ] = 0.1

    def losses(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none", label_smoothing=self.smoothing)
