"""ShuffleNet V2 blocks (Ma et al., arXiv:1807.11164) in the form that SPOS searches (Guo et al., arXiv:1904.00420)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regimen.nas.blocks.convolution import normalized


class Shuffle(nn.Module):
    """Half of the channels pass a branch, the others wait; then both are mixed. (B, C_in, H, W) to
    (B, C, H / stride, W / stride).

    Where the shape changes, both halves are made of all inputs. `kernel` 3, 5 or 7 is a 1 x 1, one convolution of that
    size a channel, and a 1 x 1; None is the Xception branch: three times a 3 x 3 a channel and a 1 x 1.
    """

    def __init__(self, channels_in: int, channels: int, stride: int, *, kernel: int | None) -> None:
        super().__init__()
        half = channels // 2
        self.changes_shape = stride != 1 or channels_in != channels
        begin = channels_in if self.changes_shape else half
        self.branch = _xception(begin, half, stride) if kernel is None else _bottleneck(begin, half, stride, kernel)
        self.shortcut: nn.Module = nn.Identity()
        if self.changes_shape:
            size = kernel or 3
            self.shortcut = nn.Sequential(
                normalized(channels_in, channels_in, size, stride, groups=channels_in, activation="none"),
                normalized(channels_in, half, 1),
            )

    def forward(self, inputs: Tensor) -> Tensor:
        waiting, passing = (inputs, inputs) if self.changes_shape else inputs.chunk(2, dim=1)
        return _mixed(torch.cat([self.shortcut(waiting), self.branch(passing)], dim=1))

    def extra_repr(self) -> str:
        return f"changes_shape={self.changes_shape}"


def _bottleneck(channels_in: int, channels: int, stride: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        normalized(channels_in, channels, 1),
        normalized(channels, channels, kernel, stride, groups=channels, activation="none"),
        normalized(channels, channels, 1),
    )


def _xception(channels_in: int, channels: int, stride: int) -> nn.Module:
    parts: list[nn.Module] = []
    for width, step in ((channels_in, stride), (channels, 1), (channels, 1)):
        parts += [normalized(width, width, 3, step, groups=width, activation="none"), normalized(width, channels, 1)]
    return nn.Sequential(*parts)


def _mixed(inputs: Tensor) -> Tensor:
    """The channels of the two halves in turns."""
    batch, channels, height, width = inputs.shape
    return inputs.reshape(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(inputs.shape)
