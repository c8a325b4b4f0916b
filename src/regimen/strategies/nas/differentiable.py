"""All choices at once, added with the softmax of the architecture parameters."""

from __future__ import annotations

from typing import ClassVar

from regimen.nas.sampler import Sampler
from regimen.nas.supernet import ForwardState


class DifferentiableSampler(Sampler):
    """Trains all choices of all layers in each step, added with their softmax (DARTS, Liu et al., arXiv:1806.09055).

    Choose `search: differentiable` with it, which moves the architecture parameters; else they stay near 0, every
    choice as likely as the others.
    """

    name = "differentiable"
    forward: ClassVar[ForwardState] = "softmax"

    def step(self) -> None:
        self.model.set_forward_state(self.forward)
