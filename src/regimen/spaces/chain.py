"""A small chain of layers: a space that can be enumerated, for demonstrations and tests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from regimen.errors import Problem, SpecError
from regimen.nas.searchspace import Inputs, SearchSpace
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Supernet

Block = Literal["skip", "mlp", "conv", "conv5"]


class Chain(SearchSpace):
    """Layers that skip, mix channels, or convolve each channel and then mix: 3 choices each, 243 networks of 5 layers.

    Counting parameters says little about which is best here (Kendall's tau -0.04, from -0.23 to 0.13), so the supernet
    has to. With `choices: [skip, mlp, conv, conv5]` there is a convolution of 5 x 5 as well.
    """

    name = "chain"

    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1, description="channels of each layer")] = [
        8,
        12,
        12,
        16,
        16,
    ]
    stride_at: Annotated[list[int], Field(description="layers (from 0) that halve height and width")] = [1]
    stem_stride: Annotated[
        int, Field(ge=1, le=4, description="of the first convolution; larger for larger pictures")
    ] = 1
    choices: Annotated[list[Block], Field(min_length=2, description="what each layer chooses from")] = [
        "skip",
        "mlp",
        "conv",
    ]

    @property
    def space(self) -> Space:
        """Raises `SpecError` for layers or choices that cannot be meant."""
        self._check()
        depth = len(self.widths)
        return Space("chain", (len(self.choices),) * depth, (tuple(self.choices),) * depth)

    def make_supernet(self, inputs: Inputs) -> Supernet:
        space, every = self.space, [range(len(self.choices))] * len(self.widths)
        layers = [[self._choice(layer, choice) for choice in choices] for layer, choices in enumerate(every)]
        return Supernet(space, self._stem(inputs), layers, self._head(inputs))

    def make_network(self, architecture: Architecture, inputs: Inputs) -> nn.Module:
        chosen = self.space.check(architecture)
        layers = [self._choice(layer, choice) for layer, choice in enumerate(chosen)]
        return nn.Sequential(self._stem(inputs), *layers, self._head(inputs))

    def _check(self) -> None:
        if len(set(self.choices)) < len(self.choices):
            text = f"is {self.choices}; expected different ones."
            raise SpecError(Problem("task.supernet.space.choices", text, "Name each once."))
        beyond = [layer for layer in self.stride_at if not 0 <= layer < len(self.widths)]
        if beyond:
            text = f"names layer {beyond[0]}; there are layers 0 to {len(self.widths) - 1}."
            raise SpecError(Problem("task.supernet.space.stride_at", text, "Count from 0."))

    def _stem(self, inputs: Inputs) -> nn.Module:
        width = self.widths[0]
        convolution = nn.Conv2d(inputs.channels, width, 3, self.stem_stride, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())

    def _head(self, inputs: Inputs) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.widths[-1], inputs.num_classes))

    def _choice(self, layer: int, choice: int) -> nn.Module:
        width_in, width = self.widths[max(0, layer - 1)], self.widths[layer]
        return Residual(width_in, width, 2 if layer in self.stride_at else 1, self.choices[choice])


class Residual(nn.Module):
    """A shortcut plus one of the choices: (B, C_in, H, W) to (B, C, H / stride, W / stride)."""

    def __init__(self, width_in: int, width: int, stride: int, choice: Block) -> None:
        super().__init__()
        same = width_in == width and stride == 1
        self.shortcut = nn.Identity() if same else _normed(nn.Conv2d(width_in, width, 1, stride, bias=False))
        self.change: nn.Module | None = None
        if choice == "mlp":
            wide = 3 * width_in
            self.change = nn.Sequential(
                _normed(nn.Conv2d(width_in, wide, 1, stride, bias=False)),
                nn.ReLU(),
                _normed(nn.Conv2d(wide, width, 1, bias=False)),
            )
        elif choice != "skip":
            size = 5 if choice == "conv5" else 3
            each = nn.Conv2d(width_in, width_in, size, stride, padding=size // 2, groups=width_in, bias=False)
            self.change = nn.Sequential(_normed(each), nn.ReLU(), _normed(nn.Conv2d(width_in, width, 1, bias=False)))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.shortcut(inputs)
        return outputs if self.change is None else (outputs + self.change(inputs)).relu()


def _normed(convolution: nn.Conv2d) -> nn.Module:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels))
