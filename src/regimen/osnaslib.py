"""OSNASLib's published names: a training strategy written for it runs here with its import changed.

    from regimen.osnaslib import BaseSampler

    class CustomizerSampler(BaseSampler):
        def generate_training_architecture(self): return architecture     # one block index per layer
        def step(self): architecture = self.generate_training_architecture()

Named in the settings, `agent: {training_strategy_agent: "CustomizerSampler"}` or `strategy: {name: ...}`, it is found
in `./strategies/`; there is no import to add.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from regimen.nas.sampler import Sampler
from regimen.nas.supernet import Supernet
from regimen.settings import PluginSettings
from regimen.strategies.nas import differentiable, fair, uniform

__all__ = ["BaseSampler", "DifferentiableSampler", "FairnessSampler", "Supernet", "UniformSampler"]


class BaseSampler(Sampler):
    """A sampler with OSNASLib's constructor: `BaseSampler(model)`. In a run it is constructed when its supernet is
    there.
    """

    def __init__(self, model: Supernet) -> None:
        self.attach_by_hand(model, np.random.default_rng(0))

    def attach_by_hand(self, model: Supernet, generator: np.random.Generator) -> None:
        """Gives it a supernet and a generator."""
        super().attach(model, generator)

    def attach(self, model: Supernet, generator: np.random.Generator) -> None:
        """Runs the constructor, which a subclass may have extended, and gives it the run's own generator."""
        type(self).__init__(self, model)
        self.attach_by_hand(model, generator)

    @classmethod
    def from_settings(cls, settings: PluginSettings) -> Self:
        """The object before its constructor has run, with the settings on it by whoever asked for it."""
        made: Any = cls.__new__(cls)
        return made  # type: ignore[no-any-return]


class _Activating(BaseSampler):
    """What OSNASLib's samplers of single paths share: `step()` makes what it generated active."""

    def step(self) -> None:
        self.model.set_forward_state("single")
        self.model.set_activate_architecture(self.generate_training_architecture())


class UniformSampler(_Activating, uniform.UniformSampler):
    """`uniform` with OSNASLib's constructor, to be used by hand or derived from."""


class FairnessSampler(_Activating, fair.FairnessSampler):
    """`fair` with OSNASLib's constructor. By hand, `step()` is the next path of a fair window; in a run a step trains
    the whole window, or with `strict: false` one path.
    """


class DifferentiableSampler(BaseSampler, differentiable.DifferentiableSampler):
    """`differentiable` with OSNASLib's constructor."""
