"""NAS-Bench-201's cell: four nodes, an operation on each of the six edges between them (Dong and Yang,
arXiv:2001.00326).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.supernet import Drawn

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""In the benchmark's order."""
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From which node to which, in the order of the benchmark's architecture strings."""


def activated_first(channels_in: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, a convolution, a batch norm."""
    convolution = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, nn.BatchNorm2d(channels))


def operation(name: str, channels: int) -> nn.Module:
    """One of `OPERATIONS`; it keeps the shape (B, C, H, W)."""
    if name == "none":
        return Nothing()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return activated_first(channels, channels, 1 if name == "nor_conv_1x1" else 3)


class Nothing(nn.Module):
    """Zeros."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.zeros_like(inputs)


class Cell(nn.Module):
    """(B, C, H, W) to the same shape. `choices` are the operations that each edge holds: all in a supernet, one in a
    network.
    """

    def __init__(self, channels: int, choices: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.edges = nn.ModuleList(
            nn.ModuleDict({str(choice): operation(OPERATIONS[choice], channels) for choice in held}) for held in choices
        )

    def forward(self, inputs: Tensor, chosen: Sequence[int | Drawn | Tensor]) -> Tensor:
        """`chosen` has for each edge an operation, one with its weight, or the weights of all."""
        nodes: list[Tensor | None] = [inputs, None, None, None]
        for (start, end), edge, choice in zip(EDGES, self.edges, chosen, strict=True):
            source, before = nodes[start], nodes[end]
            assert isinstance(edge, nn.ModuleDict)
            assert source is not None  # edges come in the order of their ends
            part = _along(edge, choice, source)
            nodes[end] = part if before is None else before + part
        assert nodes[-1] is not None
        return nodes[-1]


def _along(edge: nn.ModuleDict, choice: int | Drawn | Tensor, inputs: Tensor) -> Tensor:
    if isinstance(choice, int):
        outputs: Tensor = edge[str(choice)](inputs)
        return outputs
    if isinstance(choice, Drawn):
        drawn: Tensor = choice.weight * edge[str(choice.choice)](inputs)
        return drawn
    # "none" adds nothing whatever its weight; it only takes weight from the others.
    total: Tensor = choice[1] * edge["1"](inputs)
    for number in range(2, len(OPERATIONS)):
        total = total + choice[number] * edge[str(number)](inputs)
    return total


class Reduction(nn.Module):
    """The residual block between the stages: (B, C, H, W) to (B, 2 C, H / 2, W / 2)."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            activated_first(channels_in, channels, 3, 2), activated_first(channels, channels, 3)
        )
        self.narrow = nn.Conv2d(channels_in, channels, 1, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        shortcut: Tensor = self.narrow(F.avg_pool2d(inputs, 2, stride=2, ceil_mode=True))
        outputs: Tensor = shortcut + self.change(inputs)
        return outputs
