"""MobileFaceNet as a search space, for embeddings of faces."""

from __future__ import annotations

from torch import nn

from regimen.nas.blocks.convolution import normalized
from regimen.nas.chainspace import SKIP, ChainSpace, Rows, inverted
from regimen.nas.searchspace import Inputs


class MobileFaceNet(ChainSpace):
    """15 layers, each an inverted residual (PReLU) of kernel 3 or 5 and expansion 1, 2 or 4, or a skip (Chen et al.,
    arXiv:1804.07573).

    `imagenet` is for faces of 112 x 112. As in OSNASLib, the last 7 x 7 convolution is padded and a mean follows, where
    the paper lets the convolution end at 1 x 1; so any size of picture goes in.
    """

    name = "mobilefacenet"
    blocks = (*(inverted(kernel, wide, prelu=True) for kernel in (3, 5) for wide in (1, 2, 4)), SKIP)
    rows = (Rows(64, 5, 2, 2), Rows(128, 7, 2, 2), Rows(128, 3, 2, 2))
    stem_channels = 64

    def stem(self, inputs: Inputs) -> nn.Module:
        stride = 2 if self.input == "imagenet" else 1
        first = normalized(inputs.channels, 64, 3, stride, activation="prelu")
        return nn.Sequential(first, normalized(64, 64, 3, groups=64, activation="prelu"))

    def head(self, inputs: Inputs) -> nn.Module:
        return nn.Sequential(
            normalized(128, 512, 1, activation="prelu"),
            normalized(512, 512, 7, groups=512, activation="none"),
            normalized(512, inputs.num_classes, 1, activation="none"),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
