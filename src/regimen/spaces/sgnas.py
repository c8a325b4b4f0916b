"""SGNAS' search space: kernels chosen for each sixth of a layer's widened channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from regimen.nas.blocks.convolution import initialize
from regimen.nas.blocks.unified import GROUPS, KERNELS, ZERO, UnifiedBlock, UnifiedLayer
from regimen.nas.proxyless import ProxylessChain
from regimen.nas.searchspace import Inputs
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import STATES, ForwardState, Part, Supernet


def sorted_groups(architecture: Architecture) -> Architecture:
    """Each layer's six choices in order: which group has which kernel does not matter to a network."""
    layers = range(0, len(architecture), GROUPS)
    return tuple(choice for begin in layers for choice in sorted(architecture[begin : begin + GROUPS]))


class SGNAS(ProxylessChain):
    """21 layers of six groups of channels, each convolved by kernel 3, 5 or 7 or left out: 126 choices of 4 (Huang and
    Chu, arXiv:2105.12971).

    Groups are sorted before they are activated ("force sampling"), so a group learns for few places only.
    """

    name = "sgnas"

    @property
    def space(self) -> Space:
        names = (*(f"k{kernel}" for kernel in KERNELS), "zero")
        places = GROUPS * len(list(self.shapes()))
        return Space(self.name, (len(names),) * places, (names,) * places, sorted_groups)

    def make_supernet(self, inputs: Inputs) -> Supernet:
        made = UnifiedSupernet(
            self.space, self.stem(inputs), [UnifiedLayer(*s) for s in self.shapes()], self.head(inputs)
        )
        initialize(made)
        return made

    def make_network(self, architecture: Architecture, inputs: Inputs) -> nn.Module:
        chosen = sorted_groups(self.space.check(architecture))
        layers = [
            UnifiedLayer(*shape).chosen(chosen[GROUPS * layer : GROUPS * (layer + 1)])
            for layer, shape in enumerate(self.shapes())
        ]
        made = nn.Sequential(self.stem(inputs), *layers, self.head(inputs))
        initialize(made)
        return made


class UnifiedSupernet(Supernet):
    """The supernet of unified blocks. It has no state `gumbel_single`: in its mixtures the groups share their work."""

    states: ClassVar[tuple[ForwardState, ...]] = STATES

    def __init__(self, space: Space, stem: nn.Module, unified: list[UnifiedLayer], head: nn.Module) -> None:
        super().__init__(space, stem, head=head)
        self.unified = nn.ModuleList(unified)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.state == "single":
            for _, module in self.stages(self.active):
                inputs = module(inputs)
            return inputs
        outputs: Tensor = self.stem(inputs)
        for layer, module in enumerate(self.unified):
            outputs = module(outputs, [self.weights_of(GROUPS * layer + group) for group in range(GROUPS)])
        result: Tensor = self.head(outputs)
        return result

    def stages(self, architecture: Architecture) -> list[tuple[tuple[int, ...], nn.Module]]:
        chosen = sorted_groups(architecture)
        found: list[tuple[tuple[int, ...], nn.Module]] = [((-1,), self.stem)]
        for layer, module in enumerate(self.unified):
            assert isinstance(module, UnifiedLayer)
            choices = chosen[GROUPS * layer : GROUPS * (layer + 1)]
            found.append(((layer, *choices), module.chosen(choices)))
        return [*found, ((-2,), self.head)]

    def parts(self, inputs: Tensor) -> Iterator[Part]:
        """Each group with its widening and narrowing; the norms are in every network, one a layer."""
        yield Part((), (), self.stem, inputs)
        outputs = self.stem(inputs)
        for layer, module in enumerate(self.unified):
            assert isinstance(module, UnifiedLayer)
            for group in range(GROUPS):
                for choice in range(ZERO):
                    yield Part((GROUPS * layer + group,), (choice,), module.group(group, choice), outputs)
            empty = UnifiedBlock([], module.norm(GROUPS), module.stride, module.is_residual)
            yield Part((), (), empty, outputs)
            outputs = empty(outputs)
        yield Part((), (), self.head, outputs)
