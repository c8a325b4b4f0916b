"""The files of the other new parts of an architecture search, and the test that comes with each."""

SEARCHER = '''"""{Title}: say in one sentence which architectures are looked at next."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from regimen.nas.searcher import Searcher
from regimen.nas.space import Architecture


class {Class}(Searcher):
    """Changes one choice of the best so far, and sometimes takes a random architecture; put your idea here."""

    name = "{name}"

    restart: Annotated[float, Field(ge=0, le=1, description="how often a random one is taken instead")] = 0.1
    batch: Annotated[int, Field(ge=1, description="how many are evaluated together")] = 4

    def ask(self) -> list[Architecture]:
        """What is evaluated next; none ends the search. `several` keeps the limits and asks for nothing twice."""
        return self.several(self.batch, self._child if self.judged else None)

    def _child(self) -> Architecture:
        best = max(self.judged, key=lambda each: each.rank)
        near = list(self.problem.space.neighbours(best.architecture))
        if not near or self.generator.random() < self.restart:
            return self.problem.space.random(self.generator)
        return near[int(self.generator.integers(len(near)))]
'''

SPACE = '''"""{Title}: say in one sentence what is chosen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from regimen.nas.searchspace import Inputs, SearchSpace
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Supernet

KERNELS = (1, 3, 5)


class {Class}(SearchSpace):
    """Layers that each choose the size of their convolution; put your layers here."""

    name = "{name}"

    depth: Annotated[int, Field(ge=1, description="layers")] = 3
    width: Annotated[int, Field(ge=1, description="channels of each layer")] = 8

    @property
    def space(self) -> Space:
        names = tuple(f"kernel {{kernel}}" for kernel in KERNELS)
        return Space(self.name, (len(KERNELS),) * self.depth, (names,) * self.depth)

    def make_supernet(self, inputs: Inputs) -> Supernet:
        """All choices of a layer give one shape."""
        layers = [[self._layer(kernel) for kernel in KERNELS] for _ in range(self.depth)]
        return Supernet(self.space, self._stem(inputs), layers, self._head(inputs))

    def make_network(self, architecture: Architecture, inputs: Inputs) -> nn.Module:
        """One architecture with fresh weights: stem, chosen layers and head, in the order of the supernet."""
        chosen = self.space.check(architecture)
        layers = [self._layer(KERNELS[choice]) for choice in chosen]
        return nn.Sequential(self._stem(inputs), *layers, self._head(inputs))

    def _stem(self, inputs: Inputs) -> nn.Module:
        return nn.Conv2d(inputs.channels, self.width, 3, padding=1)

    def _layer(self, kernel: int) -> nn.Module:
        convolution = nn.Conv2d(self.width, self.width, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(self.width), nn.ReLU())

    def _head(self, inputs: Inputs) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.width, inputs.num_classes))
'''

CRITERION = '''"""{Title}: say in one sentence what is made small."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.criterion import Criterion


class {Class}(Criterion):
    """The squared distance of the probabilities to what is right (Brier, 1950); put your idea here."""

    name = "{name}"

    scale: Annotated[float, Field(gt=0, description="factor of the loss")] = 1.0

    def losses(self, outputs: Tensor, targets: Tensor, head: nn.Module | None) -> Tensor:
        """One loss a row, (B,), from outputs (B, C) and classes (B,)."""
        wanted_BC = F.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
        return self.scale * (outputs.softmax(dim=1) - wanted_BC).square().sum(dim=1)
'''

PART_TEST = '''"""{name} takes part in a tiny search, and the same seed gives the same numbers."""

from __future__ import annotations

from pathlib import Path

import regimen

FILE = str(Path(__file__).with_name("{name}.py"))


def run(folder):
    return regimen.run(
        {{
            "task": {{"name": "digits", "supernet": {{"space": {space}}}}},
            "strategy": {{
                "name": "uniform",
                "criterion": {criterion},
                "search": {search},
                "retrain": 0.2,
                "batch_size": 16,
            }},
            "budget": {{"steps": 4}},
            "threads": 1,
            "output": str(folder),
        }}
    )


def test_it_takes_part_in_a_search(tmp_path):
    record = run(tmp_path / "first")
    assert record.status == "completed"
    assert "test/accuracy" in record.final
    assert run(tmp_path / "second").identity == record.identity
'''

USUAL = {
    "space": '{"name": "chain", "widths": [4, 6]}',
    "criterion": '{"name": "cross_entropy"}',
    "search": '{"name": "random", "queries": 4}',
}
"""The parts of that search which are not new."""
NEW = {
    "searcher": ("search", '{"name": FILE, "queries": 6}'),
    "space": ("space", '{"name": FILE}'),
    "criterion": ("criterion", '{"name": FILE}'),
}
"""Where each new part stands in it."""
