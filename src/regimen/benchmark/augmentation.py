"""Pictures changed at random, a whole batch (B, C, H, W) at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601)."""


class Jitter(NamedTuple):
    """Ranges (lowest, highest) of the factors of a colour jitter; 1 changes nothing."""

    brightness: tuple[float, float]
    contrast: tuple[float, float]
    saturation: tuple[float, float]


def random_windows(images: Tensor, size: int, generator: np.random.Generator, *, mirrored: bool) -> Tensor:
    """A square of (size, size) pixels of each picture, anywhere in it; `mirrored` turns half of them left to right."""
    num, channels, height, width = images.shape
    rows = generator.integers(0, height - size + 1, (num, 1)) + np.arange(size)
    columns = generator.integers(0, width - size + 1, (num, 1)) + np.arange(size)
    if mirrored:
        columns = np.where(generator.random((num, 1)) < 0.5, columns[:, ::-1], columns)
    places = (rows[:, :, None] * width + columns[:, None, :]).reshape(num, 1, -1)
    index = torch.from_numpy(places).to(images.device).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).view(num, channels, size, size)


def colours_jittered(images: Tensor, jitter: Jitter, generator: np.random.Generator) -> Tensor:
    """RGB pictures in [0, 1] with other brightness, contrast and saturation, in an order of its own for each.

    As torchvision's ColorJitter, on real numbers where that rounds to bytes. Each change moves a picture away from or
    towards another one: black, its mean grey, or itself in grey.
    """
    num, device = len(images), images.device
    lowest, highest = zip(*jitter, strict=True)
    factors = generator.uniform(lowest, highest, (num, 3))
    order = generator.permuted(np.tile(np.arange(3), (num, 1)), axis=1)
    factors = np.take_along_axis(factors, order, axis=1)
    for turn in range(3):
        change = torch.from_numpy(order[:, turn]).to(device).view(-1, 1, 1, 1)
        factor = torch.from_numpy(factors[:, turn]).to(images).view(-1, 1, 1, 1)
        grey = _grey(images)
        mean_or_black = grey.mean(dim=(2, 3), keepdim=True) * (change == 1)
        images = torch.lerp(torch.where(change == 2, grey, mean_or_black), images, factor).clamp_(0, 1)
    return images


def _grey(images: Tensor) -> Tensor:
    red, green, blue = LUMINANCE
    return (red * images[:, 0] + green * images[:, 1] + blue * images[:, 2]).unsqueeze(1)
