"""Search spaces that are chains: a stem, layers that all offer the same blocks, a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field
from torch import nn

from regimen.nas.blocks.convolution import initialize, skip
from regimen.nas.blocks.mobile import InvertedResidual
from regimen.nas.searchspace import Inputs, SearchSpace
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Supernet

InputSize = Literal["small", "imagenet"]


class Rows(NamedTuple):
    """Layers in a row that have the same number of channels; only the first may stride."""

    channels: int
    layers: int
    stride: int
    """For ImageNet-sized pictures."""
    small_stride: int


class Shape(NamedTuple):
    """What a layer makes of its inputs."""

    channels_in: int
    channels: int
    stride: int


class Block(NamedTuple):
    """A choice: its name for people, and what makes it for a layer's (channels_in, channels, stride)."""

    name: str
    make: Callable[[int, int, int], nn.Module]


SKIP = Block("skip", skip)


def inverted(kernel: int, expansion: int, groups: int = 1, *, prelu: bool = False) -> Block:
    """An inverted residual as a choice."""

    def make(channels_in: int, channels: int, stride: int) -> nn.Module:
        activation: Literal["prelu", "relu6"] = "prelu" if prelu else "relu6"
        shape = (channels_in, channels, stride)
        return InvertedResidual(*shape, kernel=kernel, expansion=expansion, groups=groups, activation=activation)

    return Block(f"k{kernel}_e{expansion}" + (f"_g{groups}" if groups > 1 else ""), make)


class ChainSpace(SearchSpace):
    """The base of chains: a subclass says its blocks, its rows of layers, its stem and its head."""

    input: Annotated[
        InputSize,
        Field(
            description="pictures it is for: small (about 32 x 32) or imagenet (about 224 x 224), which strides more"
        ),
    ] = "small"

    blocks: ClassVar[tuple[Block, ...]] = ()
    rows: ClassVar[tuple[Rows, ...]] = ()
    stem_channels: ClassVar[int] = 16

    def stem(self, inputs: Inputs) -> nn.Module:
        """(B, channels, height, width) to (B, stem_channels, ..)."""
        raise TypeError(f"{type(self).__name__} has no stem(inputs)")

    def head(self, inputs: Inputs) -> nn.Module:
        """The outputs of the last layer to (B, num_classes)."""
        raise TypeError(f"{type(self).__name__} has no head(inputs)")

    def shapes(self) -> Iterator[Shape]:
        """What each layer makes, in order."""
        before = self.stem_channels
        for row in self.rows:
            for layer in range(row.layers):
                stride = (row.stride if self.input == "imagenet" else row.small_stride) if layer == 0 else 1
                yield Shape(before, row.channels, stride)
                before = row.channels

    @property
    def space(self) -> Space:
        depth, names = sum(row.layers for row in self.rows), tuple(block.name for block in self.blocks)
        return Space(self.name, (len(names),) * depth, (names,) * depth)

    def make_supernet(self, inputs: Inputs) -> Supernet:
        layers = [[block.make(*shape) for block in self.blocks] for shape in self.shapes()]
        made = Supernet(self.space, self.stem(inputs), layers, self.head(inputs))
        initialize(made)
        return made

    def make_network(self, architecture: Architecture, inputs: Inputs) -> nn.Module:
        chosen = self.space.check(architecture)
        layers = [self.blocks[choice].make(*shape) for choice, shape in zip(chosen, self.shapes(), strict=True)]
        made = nn.Sequential(self.stem(inputs), *layers, self.head(inputs))
        initialize(made)
        return made
