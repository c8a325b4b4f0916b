"""The sandwich rule: the largest network, the smallest and some between in each step, the largest teaching the others.

Yu and Huang, arXiv:1903.05134, for widths; Yu et al., arXiv:2003.11142 (BigNAS) for whole spaces. As there, gradients
are added and one update is made; here the largest and the smallest are found from what the choices cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from regimen.nas.extremes import extremes
from regimen.nas.sampler import Path, Sampler
from regimen.nas.space import Architecture

if TYPE_CHECKING:
    from regimen.nas.supernettask import SupernetTask


class SandwichSampler(Sampler):
    """Each step trains the largest architecture, the smallest and random ones on one batch, and adds their gradients;
    all but the largest learn to give its outputs (in-place distillation).

    Of architectures that cost the same, the first counts. Path weights are 1, so that the step is larger than that of
    one path by their number.
    """

    name = "sandwich"

    random: Annotated[int, Field(ge=0, description="random architectures a step besides the two")] = 2
    distill: Annotated[
        bool, Field(description="the others learn from the largest's outputs; false: from the classes, as it does")
    ] = True
    by: Annotated[Literal["params", "mmac"], Field(description="what makes an architecture large: params or mmac")] = (
        "params"
    )

    def prepare(self, task: SupernetTask) -> None:
        super().prepare(task)
        self.between(*extremes(self.cost_of(task, self.by)))

    def between(self, smallest: Architecture, largest: Architecture) -> None:
        """Says what to train besides random architectures; a run finds both by their cost."""
        self.smallest, self.largest = smallest, largest

    def plan(self, step: int) -> list[Path]:
        teacher = 0 if self.distill else None
        others = [self.smallest, *(self.model.space.random(self.generator) for _ in range(self.random))]
        return [Path(self.largest), *(Path(each, distill_from=teacher) for each in others)]

    def generate_training_architecture(self) -> Architecture:
        """One of the random ones."""
        return self.model.space.random(self.generator)
