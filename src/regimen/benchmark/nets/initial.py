"""How initial weights are drawn; every draw is from torch's global generator, which the run seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)
Fill = Callable[[Tensor], Tensor]
"""Writes initial values into a tensor of weights, in place."""


def truncated_normal(deviation: float) -> Fill:
    """A normal of this standard deviation around 0, drawn again beyond two deviations, as TensorFlow does."""
    return partial(nn.init.trunc_normal_, std=deviation, a=-2 * deviation, b=2 * deviation)


def filled(net: Net, *, conv: Fill, dense: Fill, bias: float = 0.0) -> Net:
    """The net with the weights of its (transposed) convolutions and dense layers drawn, in their order, and all of
    their biases set.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            (dense if isinstance(module, nn.Linear) else conv)(module.weight)
            if module.bias is not None:
                nn.init.constant_(module.bias, bias)
    return net
