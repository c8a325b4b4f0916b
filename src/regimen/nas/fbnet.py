"""What the two FBNet spaces share (Wu et al., arXiv:1812.03443), in OSNASLib's form: plain ReLU6, no shuffling."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from regimen.nas.blocks.convolution import normalized, pooled_classifier
from regimen.nas.chainspace import SKIP, ChainSpace, Rows, inverted
from regimen.nas.searchspace import Inputs


class FBNet(ChainSpace):
    """22 layers: inverted residuals of kernel 3 or 5 and expansion 1 (plain or in 2 groups), 3 or 6, or a skip."""

    blocks = (*(inverted(kernel, *wide) for kernel in (3, 5) for wide in ((1,), (1, 2), (3,), (6,))), SKIP)
    rows = (
        Rows(16, 1, 1, 1),
        Rows(24, 4, 2, 1),
        Rows(32, 4, 2, 2),
        Rows(64, 4, 2, 2),
        Rows(112, 4, 1, 1),
        Rows(184, 4, 2, 2),
        Rows(352, 1, 1, 1),
    )
    last_channels: ClassVar[int] = 0

    def stem(self, inputs: Inputs) -> nn.Module:
        return normalized(inputs.channels, self.stem_channels, 3, 2)

    def head(self, inputs: Inputs) -> nn.Module:
        width = self.last_channels
        return nn.Sequential(normalized(352, width, 1), pooled_classifier(width, inputs.num_classes))
