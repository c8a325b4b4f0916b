"""All choices at once, added with the softmax of the architecture parameters."""

from __future__ import annotations

import numpy as np

from regimen.nas.sampler import Sampler
from regimen.nas.supernet import Supernet


class DifferentiableSampler(Sampler):
    """Trains all choices of all layers in each step, added with their softmax (DARTS, Liu et al., arXiv:1806.09055).

    Choose `search: differentiable` with it, which moves the architecture parameters; else they stay near 0, every
    choice as likely as the others.
    """

    name = "differentiable"

    def attach(self, model: Supernet, generator: np.random.Generator) -> None:
        super().attach(model, generator)
        if not model.arch_params:
            model.initialize_arch_param(next(model.parameters()).device)

    def step(self) -> None:
        self.model.set_forward_state("softmax")
