"""Uniform sampling: one random path a step, or several."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from regimen.nas.sampler import Path, Sampler
from regimen.nas.space import Architecture


class UniformSampler(Sampler):
    """Trains one path a step, each choice of each layer equally likely (SPOS, Guo et al., arXiv:1904.00420).

    With `paths: 3` a step trains three independent paths on one batch, adds their gradients and makes one update: what
    `fair` does where layers have three choices, without its fairness.
    """

    name = "uniform"

    paths: Annotated[int, Field(ge=1, description="random paths a step, whose gradients are added")] = 1

    def generate_training_architecture(self) -> Architecture:
        return self.model.space.random(self.generator)

    def plan(self, step: int) -> list[Path]:
        if self.paths == 1:
            return super().plan(step)
        return [Path(self.generate_training_architecture()) for _ in range(self.paths)]
