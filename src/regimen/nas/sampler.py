"""Samplers: which sub-network each training step of a supernet trains. The training strategies of this family.

    sampler.step()                       before each iteration, as in OSNASLib
    sampler.plan(step) -> [Path, ...]    what is trained in it; one path by default

A step of several paths runs each forward and backward on the same batch, adds the gradients, and makes one update:
strict fairness, the sandwich rule and the like are samplers, not trainers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from regimen.nas.space import Architecture
from regimen.nas.supernet import ForwardState, Supernet
from regimen.strategy import Strategy


@dataclass(frozen=True)
class Path:
    """One forward and backward pass of a step."""

    architecture: Architecture | None = None
    """None in the states that add all choices."""
    weight: float = 1.0
    """Of its loss in the step's."""
    distill_from: int | None = None
    """The number of an earlier path of this step whose outputs are the targets."""
    forward: ForwardState = "single"
    tau: float = 1.0


class Sampler(Strategy):
    """The base of samplers. `BaseSampler(model)` is the same, under OSNASLib's name.

    `model` is the supernet, `generator` the sampler's own, whose state is part of every checkpoint. A subclass gives
    `generate_training_architecture`, or `plan` for steps of more than one path.
    """

    family = "nas"
    resume: ClassVar[Any] = "exact"

    model: Supernet
    generator: np.random.Generator

    def attach(self, model: Supernet, generator: np.random.Generator) -> None:
        """Gives it the supernet; called once, before the first step."""
        self.model, self.generator = model, generator

    @property
    def macro_len(self) -> int:
        """Layers of the supernet."""
        return self.model.get_model_cfg_shape()[0]

    @property
    def micro_len(self) -> int:
        """Choices of a layer; the most, where layers differ."""
        return self.model.get_model_cfg_shape()[1]

    def get_block_len(self) -> int:
        """Choices of a layer, by OSNASLib's name."""
        return self.micro_len

    def generate_training_architecture(self) -> Sequence[int]:
        """One choice a layer: what the next iteration trains."""
        raise TypeError(f"{type(self).__name__} has no generate_training_architecture()")

    def step(self) -> None:
        """Called before each iteration; by default generates an architecture."""
        self.generate_training_architecture()

    def plan(self, step: int) -> list[Path]:
        """The paths of iteration `step` (from 0): by default what `step()` generated, in the state that it set."""
        model, made = self.model, list[Sequence[int]]()
        model.set_forward_state("single")
        before, generate = model.active, self.generate_training_architecture

        def noticed() -> Sequence[int]:
            made.append(generate())
            return made[-1]

        self.generate_training_architecture = noticed  # type: ignore[method-assign]
        try:
            self.step()
        finally:
            del self.generate_training_architecture
        if model.state != "single":
            return [Path(forward=model.state, tau=model.tau)]
        if model.active is not before:  # `step` has activated one itself
            return [Path(model.active)]
        return [Path(model.space.check(made[-1] if made else generate()))]

    def observe(self, losses: Sequence[float]) -> None:
        """Told the losses of the step's paths, after the update."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
