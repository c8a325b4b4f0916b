"""The block search space of SPOS."""

from __future__ import annotations

from torch import nn

from regimen.nas.blocks.convolution import normalized, pooled_classifier
from regimen.nas.blocks.shuffle import Shuffle
from regimen.nas.chainspace import Block, ChainSpace, Rows
from regimen.nas.searchspace import Inputs


def _shuffle(kernel: int | None) -> Block:
    def make(channels_in: int, channels: int, stride: int) -> nn.Module:
        return Shuffle(channels_in, channels, stride, kernel=kernel)

    return Block("xception" if kernel is None else f"shuffle_k{kernel}", make)


class SPOS(ChainSpace):
    """20 layers: ShuffleNet V2 blocks of kernel 3, 5 or 7, or their Xception form (Guo et al., arXiv:1904.00420)."""

    name = "spos"
    blocks = tuple(_shuffle(kernel) for kernel in (3, 5, 7, None))
    rows = (Rows(64, 4, 2, 1), Rows(160, 4, 2, 2), Rows(320, 8, 2, 2), Rows(640, 4, 2, 2))

    def stem(self, inputs: Inputs) -> nn.Module:
        return normalized(inputs.channels, self.stem_channels, 3, 2)

    def head(self, inputs: Inputs) -> nn.Module:
        return nn.Sequential(normalized(640, 1024, 1), pooled_classifier(1024, inputs.num_classes))
