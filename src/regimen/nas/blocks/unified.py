"""SGNAS' unified block: an inverted residual whose widened channels are six groups, each of which chooses its kernel or
is left out (Huang and Chu, arXiv:2105.12971).

Which batch norm is used at the end depends on how many groups are left out, since that changes how large the sums are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from regimen.nas.blocks.convolution import normalized

KERNELS = (3, 5, 7)
"""Of the choices 0, 1, 2."""
ZERO = len(KERNELS)
"""The choice that leaves a group out."""
GROUPS = 6


class UnifiedBlock(nn.Module):
    """A block with fixed choices: its groups, and the norm of their sum. (B, C_in, H, W) to (B, C, H / stride, ..).

    With no group left, the sum is zeros: the inputs (where the shapes agree) and the norm's biases are what goes on.
    """

    def __init__(self, groups: Iterable[nn.Module], norm: nn.BatchNorm2d, stride: int, is_residual: bool) -> None:
        super().__init__()
        self.groups, self.norm = nn.ModuleList(groups), norm
        self.stride, self.is_residual = stride, is_residual

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.norm(self._summed(inputs))
        return outputs + inputs if self.is_residual else outputs

    def _summed(self, inputs: Tensor) -> Tensor:
        if len(self.groups):
            return _total(group(inputs) for group in self.groups)
        batch, _, height, width = inputs.shape
        smaller = (-(-height // self.stride), -(-width // self.stride))
        return inputs.new_zeros(batch, self.norm.num_features, *smaller)

    def extra_repr(self) -> str:
        return f"stride={self.stride}, is_residual={self.is_residual}"


class UnifiedLayer(nn.Module):
    """All choices of a block with shared weights."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.widen = nn.ModuleList(normalized(channels_in, channels_in, 1) for _ in range(GROUPS))
        self.kernels = nn.ModuleList(
            nn.ModuleList(
                normalized(channels_in, channels_in, kernel, stride, groups=channels_in) for kernel in KERNELS
            )
            for _ in range(GROUPS)
        )
        self.narrow = nn.ModuleList(nn.Conv2d(channels_in, channels, 1, bias=False) for _ in range(GROUPS))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(GROUPS + 1))
        """By how many groups are left out."""
        self.stride, self.is_residual = stride, stride == 1 and channels_in == channels

    def chosen(self, choices: Sequence[int]) -> UnifiedBlock:
        """The block of a choice a group, made of the modules here."""
        groups = [self.group(number, choice) for number, choice in enumerate(choices) if choice != ZERO]
        return UnifiedBlock(groups, self.norm(list(choices).count(ZERO)), self.stride, self.is_residual)

    def group(self, number: int, choice: int) -> nn.Sequential:
        """What one group computes with one of the kernels."""
        kernels = self.kernels[number]
        assert isinstance(kernels, nn.ModuleList)
        return nn.Sequential(self.widen[number], kernels[choice], self.narrow[number])

    def norm(self, num_zeros: int) -> nn.BatchNorm2d:
        norm = self.norms[num_zeros]
        assert isinstance(norm, nn.BatchNorm2d)
        return norm

    def forward(self, inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """All choices added with `weights`: one (4,) for each group. The norm is that of the nearest number of groups
        left out, as in OSNASLib.
        """
        total = _total(self._weighted(number, row, inputs) for number, row in enumerate(weights))
        num_zeros = int(torch.stack([row[ZERO] for row in weights]).detach().sum().round().clamp(0, GROUPS))
        outputs: Tensor = self.norm(num_zeros)(total)
        return outputs + inputs if self.is_residual else outputs

    def _weighted(self, number: int, weights: Tensor, inputs: Tensor) -> Tensor:
        kernels = self.kernels[number]
        assert isinstance(kernels, nn.ModuleList)
        wide = self.widen[number](inputs)
        mixed = _total(weight * kernel(wide) for weight, kernel in zip(weights[:ZERO], kernels, strict=True))
        outputs: Tensor = self.narrow[number](mixed)
        return outputs


def _total(parts: Iterable[Tensor]) -> Tensor:
    """The sum, one by one in order."""
    first, *others = parts
    for part in others:
        first = first + part
    return first
