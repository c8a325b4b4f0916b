"""The chain of rows that ProxylessNAS (arXiv:1812.00332) and SGNAS (arXiv:2105.12971) both search."""

from __future__ import annotations

from torch import nn

from regimen.nas.blocks.convolution import normalized, pooled_classifier
from regimen.nas.blocks.mobile import InvertedResidual
from regimen.nas.chainspace import ChainSpace, Rows
from regimen.nas.searchspace import Inputs


class ProxylessChain(ChainSpace):
    """21 layers after a convolution and a fixed inverted residual; 1,280 channels at the end."""

    rows = (
        Rows(24, 4, 2, 1),
        Rows(40, 4, 2, 2),
        Rows(80, 4, 2, 2),
        Rows(96, 4, 1, 1),
        Rows(192, 4, 2, 2),
        Rows(320, 1, 1, 1),
    )

    def stem(self, inputs: Inputs) -> nn.Module:
        first = normalized(inputs.channels, 32, 3, 2)
        return nn.Sequential(first, InvertedResidual(32, self.stem_channels, 1, kernel=3, expansion=1))

    def head(self, inputs: Inputs) -> nn.Module:
        return nn.Sequential(normalized(320, 1280, 1), pooled_classifier(1280, inputs.num_classes))
