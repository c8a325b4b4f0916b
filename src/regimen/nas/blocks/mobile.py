"""Inverted residuals: widen, convolve each channel on its own, narrow (Sandler et al., arXiv:1801.04381)."""

from __future__ import annotations

from torch import Tensor, nn

from regimen.nas.blocks.convolution import Activation, normalized


class InvertedResidual(nn.Module):
    """(B, C_in, H, W) to (B, C, H / stride, W / stride); its inputs are added where the shapes agree.

    At `expansion` 1 there is no widening convolution. `groups` is of both 1 x 1 convolutions; as in OSNASLib, and
    unlike FBNet's paper (arXiv:1812.03443), channels are not shuffled between them.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        stride: int,
        *,
        kernel: int,
        expansion: int,
        groups: int = 1,
        activation: Activation = "relu6",
    ) -> None:
        super().__init__()
        wide = channels_in * expansion
        widen = [normalized(channels_in, wide, 1, groups=groups, activation=activation)] if expansion != 1 else []
        self.change = nn.Sequential(
            *widen,
            normalized(wide, wide, kernel, stride, groups=wide, activation=activation),
            normalized(wide, channels, 1, groups=groups, activation="none"),
        )
        self.is_residual = stride == 1 and channels_in == channels

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.change(inputs)
        return outputs + inputs if self.is_residual else outputs

    def extra_repr(self) -> str:
        return f"is_residual={self.is_residual}"
