"""All choices at once, added with a random softmax that becomes sharper."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from regimen.nas.sampler import Path, Sampler
from regimen.nas.supernet import ForwardState


class GumbelSampler(Sampler):
    """Adds all choices with a Gumbel softmax (Jang et al., arXiv:1611.01144) whose temperature falls with the steps.

    Choose `search: differentiable` with it, which moves the architecture parameters.
    """

    name = "gumbel"
    forward: ClassVar[ForwardState] = "gumbel_softmax"

    tau: Annotated[float, Field(gt=0, description="temperature at the first step; high is an even mixture")] = 5.0
    tau_least: Annotated[float, Field(gt=0, description="temperature below which it does not fall")] = 0.1
    decay: Annotated[float, Field(gt=0, le=1, description="factor of the temperature from step to step")] = 0.999

    def plan(self, step: int) -> list[Path]:
        return [Path(forward=self.forward, tau=max(self.tau_least, self.tau * self.decay**step))]
