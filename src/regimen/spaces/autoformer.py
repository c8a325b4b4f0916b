"""AutoFormer-like search space of vision transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from regimen.errors import Problem, SpecError
from regimen.nas.blocks.entangled import (
    MLP,
    Attention,
    Classifier,
    Embedding,
    Encoding,
    Layer,
    Sized,
    initialize_transformer,
)
from regimen.nas.chainspace import InputSize
from regimen.nas.searchspace import Inputs, SearchSpace
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import ForwardState, Part, Supernet

WIDTH, DEPTH, FIRST = 0, 1, 2
"""Places in an architecture: the width, the number of layers, then heads and MLP ratio of each layer."""


class Sizes(NamedTuple):
    """What may be chosen."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    ratios: tuple[float, ...]
    head_width: int
    patch: int


SMALL = Sizes((64, 96, 128), (4, 5, 6), (2, 3, 4), (2.0, 3.0, 4.0), 32, 4)
IMAGENET = Sizes((192, 216, 240), (12, 13, 14), (3, 4), (3.5, 4.0), 64, 16)
"""AutoFormer-T's."""


class Network(NamedTuple):
    """One architecture in numbers."""

    width: int
    layers: tuple[Encoding, ...]


class AutoFormer(SearchSpace):
    """Vision transformers of different width, depth, and in each layer heads and MLP ratio; smaller ones are slices of
    the largest one's weights (Chen et al., arXiv:2107.00651).

    `imagenet` has the sizes of AutoFormer-T; `small` is ours, for patches of 4 x 4.
    """

    name = "autoformer"

    input: Annotated[
        InputSize,
        Field(description="pictures it is for: small (patches of 4, up to 128 wide) or imagenet (of 16, up to 240)"),
    ] = "small"

    @property
    def sizes(self) -> Sizes:
        return IMAGENET if self.input == "imagenet" else SMALL

    @property
    def space(self) -> Space:
        sizes, layers = self.sizes, max(self.sizes.depths)
        offered: list[Sequence[float]] = [sizes.widths, sizes.depths, *[sizes.heads, sizes.ratios] * layers]
        what = ["width", "layers", *["heads", "ratio"] * layers]
        names = tuple(tuple(f"{word} {n:g}" for n in numbers) for word, numbers in zip(what, offered, strict=True))
        return Space(self.name, tuple(map(len, offered)), names, self._without_unused)

    def _without_unused(self, architecture: Architecture) -> Architecture:
        """Layers beyond the depth get choice 0: they are not there."""
        end = FIRST + 2 * self.sizes.depths[architecture[DEPTH]]
        return (*architecture[:end], *[0] * (len(architecture) - end))

    def numbers(self, architecture: Architecture) -> Network:
        """The sizes that an architecture chooses."""
        sizes = self.sizes
        width, depth = sizes.widths[architecture[WIDTH]], sizes.depths[architecture[DEPTH]]
        pairs = [architecture[FIRST + 2 * layer : FIRST + 2 * layer + 2] for layer in range(depth)]
        return Network(width, tuple(Encoding(sizes.heads[h], int(sizes.ratios[r] * width)) for h, r in pairs))

    def make_supernet(self, inputs: Inputs) -> Supernet:
        largest = tuple(size - 1 for size in self.space.sizes)
        return EntangledSupernet(self, self.make_network(largest, inputs), inputs)

    def make_network(self, architecture: Architecture, inputs: Inputs) -> nn.Sequential:
        width, layers = self.numbers(self.space.check(architecture))
        made = nn.Sequential(
            self.embedding(width, inputs),
            *(Layer(width, encoding, self.sizes.head_width) for encoding in layers),
            Classifier(width, inputs.num_classes),
        )
        initialize_transformer(made)
        return made

    def embedding(self, width: int, inputs: Inputs) -> Embedding:
        """Raises `SpecError` for pictures that are smaller than a patch."""
        patch = self.sizes.patch
        num_patches = (inputs.height // patch) * (inputs.width // patch)
        if not num_patches:
            text = f"patches of {patch} x {patch} do not fit pictures of {inputs.height} x {inputs.width}."
            raise SpecError(Problem("task.supernet.space.input", text, "Use `small`, or larger pictures."))
        return Embedding(inputs.channels, patch, num_patches, width)


class EntangledSupernet(Supernet):
    """The largest transformer, computing with slices of itself. It has the state `single` alone: slices of one weight
    are no choices that could be added.
    """

    states: ClassVar[tuple[ForwardState, ...]] = ("single",)

    def __init__(self, description: AutoFormer, largest: nn.Sequential, inputs: Inputs) -> None:
        super().__init__(description.space)
        self.description, self.inputs, self.largest = description, inputs, largest

    def forward(self, inputs: Tensor) -> Tensor:
        for _, module in self.stages(self.active):
            inputs = module(inputs)
        return inputs

    def stages(self, architecture: Architecture) -> list[tuple[tuple[int, ...], nn.Module]]:
        width, layers = self.description.numbers(architecture)
        chosen = architecture[WIDTH]
        found: list[tuple[tuple[int, ...], nn.Module]] = [((-1, chosen), Sized(self.largest[0], width))]
        for number, encoding in enumerate(layers):
            pair = architecture[FIRST + 2 * number : FIRST + 2 * number + 2]
            found.append(((number, chosen, *pair), Sized(self.largest[1 + number], encoding)))
        return [*found, ((-2, chosen), self.largest[-1])]

    def inherited(self, architecture: Architecture) -> dict[str, Tensor]:
        with torch.device("meta"):
            wanted = self.description.make_network(architecture, self.inputs).state_dict()
        # The head is the last module: of a network with fewer layers under a smaller number.
        own, last = self.largest.state_dict(), len(self.description.numbers(architecture).layers) + 1
        found: dict[str, Tensor] = {}
        for name, tensor in wanted.items():
            number, _, rest = name.partition(".")
            mine = own[f"{len(self.largest) - 1}.{rest}" if int(number) == last else name]
            found[name] = mine[tuple(slice(size) for size in tensor.shape)].clone()
        return found

    def parts(self, inputs: Tensor) -> Iterator[Part]:
        """Made at their sizes for measuring: embedding and head by width, attention and MLP also by their choice, and
        by the depth where not all networks have the layer.
        """
        sizes, device = self.description.sizes, inputs.device
        for chosen, width in enumerate(sizes.widths):
            embedding = self.description.embedding(width, self.inputs).to(device)
            tokens = embedding(inputs)
            yield Part((WIDTH,), (chosen,), embedding, inputs)
            yield Part((WIDTH,), (chosen,), Classifier(width, self.inputs.num_classes).to(device), tokens)
            attentions = [Attention(width, heads, sizes.head_width).to(device) for heads in sizes.heads]
            mlps = [MLP(width, math.floor(ratio * width)).to(device) for ratio in sizes.ratios]
            for layer in range(max(sizes.depths)):
                for place, modules in ((FIRST + 2 * layer, attentions), (FIRST + 2 * layer + 1, mlps)):
                    for choice, module in enumerate(modules):
                        for positions, choices in self._having(layer, chosen):
                            yield Part((*positions, place), (*choices, choice), module, tokens)

    def _having(self, layer: int, width: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The architectures that have a layer, by width and, if it matters, depth."""
        depths = self.description.sizes.depths
        if layer < min(depths):
            yield (WIDTH,), (width,)
            return
        for chosen, depth in enumerate(depths):
            if layer < depth:
                yield (WIDTH, DEPTH), (width, chosen)
