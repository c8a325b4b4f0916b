"""Inception version 3 with its auxiliary head (Szegedy et al., arXiv:1512.00567), with DeepOBS' layers.

DeepOBS has this net in TensorFlow alone. From there: batch normalisation keeps 0.9997 of its running statistics, which
are therefore of use only after some thousand steps, and its epsilon is 0.001; dropout takes 0.8 of the last features
(the paper keeps 0.8). Pictures are resized by half-pixel bilinear interpolation, where TensorFlow 1 aligned the
first pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.benchmark.nets.initial import filled

Size = int | tuple[int, int]
PIXELS = 299


class Guesses(NamedTuple):
    """Logits of B pictures, each (B, classes)."""

    main: Tensor
    auxiliary: Tensor | None
    """None in evaluation, where the auxiliary head is not used."""


class InceptionV3(nn.Module):
    """For (B, 3, H, W), resized to 299 x 299. Glorot's uniform initialisation, biases 0; no convolution has one."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *(_conv(3, 32, 3, stride=2), _conv(32, 32, 3), _conv(32, 64, 3, padding=1), nn.MaxPool2d(3, 2)),
            *(_conv(64, 80, 1), _conv(80, 192, 3), nn.MaxPool2d(3, 2)),
        )
        self.body = nn.Sequential(
            *(_block_35(192, 32), _block_35(256, 64), _block_35(288, 64), _to_17()),
            *(_block_17(128), _block_17(160), _block_17(160), _block_17(192)),
        )
        self.auxiliary = nn.Sequential(
            *(nn.AvgPool2d(5, 3), _conv(768, 128, 1), _conv(128, 768, 5), nn.Flatten(), nn.Linear(768, num_classes)),
        )
        self.top = nn.Sequential(_to_8(), _block_8(1280), _block_8(2048), nn.AvgPool2d(8), nn.Flatten())
        self.dropout = nn.Dropout(0.8)
        self.dense = nn.Linear(2048, num_classes)
        filled(self, conv=nn.init.xavier_uniform_, dense=nn.init.xavier_uniform_)

    def forward(self, images: Tensor) -> Guesses:
        sized = F.interpolate(images, (PIXELS, PIXELS), mode="bilinear", align_corners=False)
        maps = self.body(self.stem(sized))
        main = self.dense(self.dropout(self.top(maps)))
        return Guesses(main, self.auxiliary(maps) if self.training else None)


class _Branches(nn.ModuleList):
    """What several branches make of the same maps, side by side along the channels."""

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([branch(maps) for branch in self], dim=1)


def _conv(channels: int, filters: int, size: Size, *, stride: int = 1, padding: int | str = 0) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, filters, size, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(filters, eps=1e-3, momentum=1 - 0.9997),
        nn.ReLU(),
    )


def _chain(channels: int, *steps: tuple[int, Size]) -> nn.Sequential:
    """Convolutions that keep width and height, given as (filters, size)."""
    chain = nn.Sequential()
    for filters, size in steps:
        chain.append(_conv(channels, filters, size, padding="same"))
        channels = filters
    return chain


def _pooled(channels: int, filters: int) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), _conv(channels, filters, 1))


def _block_35(channels: int, pooled: int) -> nn.Module:
    """Maps of 35 x 35; 224 + `pooled` channels come out."""
    return _Branches(
        [
            _chain(channels, (64, 1)),
            _pooled(channels, pooled),
            _chain(channels, (48, 1), (64, 5)),
            _chain(channels, (64, 1), (96, 3), (96, 3)),
        ]
    )


def _to_17() -> nn.Module:
    """From 288 channels of 35 x 35 to 768 of 17 x 17."""
    double = _chain(288, (64, 1), (96, 3)).append(_conv(96, 96, 3, stride=2))
    return _Branches([nn.MaxPool2d(3, 2), _conv(288, 384, 3, stride=2), double])


def _block_17(inner: int) -> nn.Module:
    """768 channels of 17 x 17; convolutions of width 7 along one side at a time, with `inner` filters."""
    along, down = (1, 7), (7, 1)
    return _Branches(
        [
            _chain(768, (192, 1)),
            _pooled(768, 192),
            _chain(768, (inner, 1), (inner, along), (192, down)),
            _chain(768, (inner, 1), (inner, down), (inner, along), (inner, down), (192, along)),
        ]
    )


def _to_8() -> nn.Module:
    """From 768 channels of 17 x 17 to 1280 of 8 x 8."""
    sevens = _chain(768, (192, 1), (192, (1, 7)), (192, (7, 1))).append(_conv(192, 192, 3, stride=2))
    threes = _chain(768, (192, 1)).append(_conv(192, 320, 3, stride=2))
    return _Branches([nn.MaxPool2d(3, 2), sevens, threes])


def _block_8(channels: int) -> nn.Module:
    """Maps of 8 x 8; 2048 channels come out."""
    single = _chain(channels, (384, 1)).append(_forked(384))
    double = _chain(channels, (448, 1), (384, 3)).append(_forked(384))
    return _Branches([_chain(channels, (320, 1)), single, double, _pooled(channels, 192)])


def _forked(channels: int) -> nn.Module:
    return _Branches([_chain(channels, (384, (1, 3))), _chain(channels, (384, (3, 1)))])
