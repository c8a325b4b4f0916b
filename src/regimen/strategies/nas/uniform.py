"""Uniform sampling: one random path a step."""

from __future__ import annotations

from regimen.nas.sampler import Sampler
from regimen.nas.space import Architecture


class UniformSampler(Sampler):
    """Trains one path a step, each choice of each layer equally likely (SPOS, Guo et al., arXiv:1904.00420)."""

    name = "uniform"

    def generate_training_architecture(self) -> Architecture:
        return self.model.space.random(self.generator)
