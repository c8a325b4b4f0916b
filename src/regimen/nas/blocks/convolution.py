"""Convolutions with their normalization, skips, and how their weights begin.

Tensors are (B, C, H, W). The blocks are those of OSNASLib: no biases before a batch norm, ReLU clipped at 6.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

Activation = Literal["relu6", "prelu", "none"]


def normalized(
    channels_in: int,
    channels: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: Activation = "relu6",
) -> nn.Sequential:
    """A convolution, a batch norm, and an activation: height and width are divided by `stride`, rounded up.

    `prelu` has one slope a channel.
    """
    padding = kernel // 2
    convolution = nn.Conv2d(channels_in, channels, kernel, stride, padding, groups=groups, bias=False)
    parts: list[nn.Module] = [convolution, nn.BatchNorm2d(channels)]
    if activation == "relu6":
        parts.append(nn.ReLU6(inplace=True))
    elif activation == "prelu":
        parts.append(nn.PReLU(channels))
    return nn.Sequential(*parts)


def skip(channels_in: int, channels: int, stride: int) -> nn.Module:
    """Nothing where the shapes agree; else a mean over windows, or a 1 x 1 convolution that changes the channels."""
    if channels_in != channels:
        return normalized(channels_in, channels, 1, stride, activation="none")
    # `ceil_mode`: odd sizes must come out as a strided convolution gives them, or the choices could not be added.
    return nn.AvgPool2d(stride, stride, ceil_mode=True) if stride > 1 else nn.Identity()


def pooled_classifier(channels: int, num_classes: int) -> nn.Sequential:
    """The mean over the picture, then one linear layer: (B, C, H, W) to (B, num_classes)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def initialize(net: nn.Module) -> None:
    """Values to begin with: normal, by the outputs of each convolution (He et al., arXiv:1502.01852, their n-hat), and
    0.01 wide in linear layers. Drawn from torch's global generator.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)
