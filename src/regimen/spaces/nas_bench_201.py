"""NAS-Bench-201's search space of cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from regimen.nas.blocks.cell import EDGES, OPERATIONS, Cell, Reduction
from regimen.nas.blocks.convolution import initialize, normalized, pooled_classifier
from regimen.nas.chainspace import InputSize
from regimen.nas.searchspace import Inputs, SearchSpace
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Drawn, Part, Supernet

NUM_STAGES = 3


def without_dead_edges(architecture: Architecture) -> Architecture:
    """Edges to a node that nothing leaves become "none": the same network, for less."""
    found = list(architecture)
    if found[5] == 0:  # node 2 leads nowhere
        found[1] = found[2] = 0
    if found[2] == 0 and found[4] == 0:  # nor does node 1
        found[0] = 0
    return tuple(found)


class NASBench201(SearchSpace):
    """One cell of six edges with five operations each, repeated: 15,625 architectures (Dong and Yang,
    arXiv:2001.00326).

    Three stages of cells with a residual block between them. Batch norms have weights in the supernet, too, so that
    networks can begin with them.
    """

    name = "nas_bench_201"

    input: Annotated[
        InputSize,
        Field(description="pictures it is for: small (about 32 x 32), or imagenet, whose stem makes 8 times smaller"),
    ] = "small"
    channels: Annotated[int, Field(ge=1, description="of the first stage; doubled in each of the next two")] = 16
    cells: Annotated[int, Field(ge=1, description="cells in each of the three stages")] = 5

    @property
    def space(self) -> Space:
        return Space(self.name, (len(OPERATIONS),) * len(EDGES), (OPERATIONS,) * len(EDGES), without_dead_edges)

    def make_supernet(self, inputs: Inputs) -> Supernet:
        made = CellSupernet(self.space, self._net([range(len(OPERATIONS))] * len(EDGES), inputs))
        initialize(made)
        return made

    def make_network(self, architecture: Architecture, inputs: Inputs) -> nn.Module:
        made = self._net([[choice] for choice in self.space.check(architecture)], inputs)
        initialize(made)
        return made

    def _net(self, choices: Sequence[Sequence[int]], inputs: Inputs) -> CellNet:
        width = self.channels
        stem: nn.Module = normalized(inputs.channels, width, 3, activation="none")
        if self.input == "imagenet":
            halvings = [normalized(c, width, 3, 2) for c in (inputs.channels, width)]
            stem = nn.Sequential(*halvings, normalized(width, width, 3, 2, activation="none"))
        last = width * 2 ** (NUM_STAGES - 1)
        head = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU(), pooled_classifier(last, inputs.num_classes))
        return CellNet(stem, width, self.cells, choices, head)


class CellNet(nn.Module):
    """A stem, three stages of cells, a head. Each edge of the cells holds `choices`."""

    def __init__(
        self, stem: nn.Module, width: int, cells: int, choices: Sequence[Sequence[int]], head: nn.Module
    ) -> None:
        super().__init__()
        self.stem, self.head = stem, head
        body: list[Cell | Reduction] = []
        for stage in range(NUM_STAGES):
            if stage:
                body.append(Reduction(width * 2 ** (stage - 1), width * 2**stage))
            body += [Cell(width * 2**stage, choices) for _ in range(cells)]
        self.body = nn.ModuleList(body)
        self.chosen = [held[0] for held in choices]

    def forward(self, inputs: Tensor, chosen: Sequence[int | Drawn | Tensor] | None = None) -> Tensor:
        """`chosen` has for each edge an operation, one with its weight, or the weights of all; unset, the first of what
        it holds.
        """
        outputs = self.stem(inputs)
        for module in self.body:
            outputs = module(outputs, chosen or self.chosen) if isinstance(module, Cell) else module(outputs)
        result: Tensor = self.head(outputs)
        return result


class CellSupernet(Supernet):
    """All cells with shared weights. Not a chain: every cell has the same architecture."""

    places: ClassVar[range] = range(len(EDGES))

    def __init__(self, space: Space, net: CellNet) -> None:
        super().__init__(space)
        self.net = net

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.net(inputs, self._chosen())
        return result

    def _chosen(self) -> Sequence[int | Drawn | Tensor]:
        """For all cells, so that what is drawn is one architecture a pass."""
        if self.state == "single":
            return self.active
        return self.draw() if self.state == "gumbel_single" else [self.weights_of(edge) for edge in self.places]

    def stages(self, architecture: Architecture) -> None:
        return None

    def inherited(self, architecture: Architecture) -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}
        for name, tensor in self.net.state_dict().items():
            _, found, place = name.partition(".edges.")
            edge, choice = place.split(".")[:2] if found else ("", "")
            if not found or architecture[int(edge)] == int(choice):
                kept[name] = tensor
        return kept

    def parts(self, inputs: Tensor) -> Iterator[Part]:
        yield Part((), (), self.net.stem, inputs)
        outputs = self.net.stem(inputs)
        for module in self.net.body:
            if isinstance(module, Cell):
                for edge, choices in enumerate(module.edges):
                    assert isinstance(choices, nn.ModuleDict)
                    for choice, operation in choices.items():
                        yield Part((edge,), (int(choice),), operation, outputs)
            else:
                yield Part((), (), module, outputs)
                outputs = module(outputs)
        yield Part((), (), self.net.head, outputs)
