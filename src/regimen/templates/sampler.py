"""The file of a new sampler: complete, with a setting and a state of its own."""

SAMPLER = '''"""{Title}: say in one sentence which paths each step trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from regimen.nas.sampler import Sampler
from regimen.nas.space import Architecture
from regimen.nas.supernet import Supernet


class {Class}(Sampler):
    """Of some random paths, trains the one whose choices were trained least so far; put your idea here.

    For steps of several paths give `plan(step) -> [Path(architecture), ...]` instead: all are trained on one batch,
    their gradients are added, and one update is made.
    """

    name = "{name}"

    # A setting: checked, shown by help, sweepable. Those of every sampler (optimizer, search, ...) are inherited.
    candidates: Annotated[int, Field(ge=1, description="random paths that are drawn for each that is trained")] = 4

    def attach(self, model: Supernet, generator: np.random.Generator) -> None:
        super().attach(model, generator)
        self.times = [[0] * size for size in model.space.sizes]

    def generate_training_architecture(self) -> Architecture:
        """One choice a layer. What is drawn from `self.generator` comes again after a resume."""
        drawn = [self.model.space.random(self.generator) for _ in range(self.candidates)]
        chosen = min(drawn, key=self._times_trained)
        for times, choice in zip(self.times, chosen, strict=True):
            times[choice] += 1
        return chosen

    def _times_trained(self, architecture: Architecture) -> int:
        return sum(times[choice] for times, choice in zip(self.times, architecture, strict=True))

    # What a checkpoint must hold besides the supernet and the generator.

    def state_dict(self) -> dict[str, Any]:
        return {{"times": [list(times) for times in self.times]}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.times = [list(times) for times in state["times"]]
'''
