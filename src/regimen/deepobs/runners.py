"""DeepOBS' runners for PyTorch: `PTRunner` to write one's own, and the two that come with it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from regimen.benchmark.testproblem import TestProblem
from regimen.deepobs.byhand import made_problem
from regimen.deepobs.description import import_name
from regimen.deepobs.loops import OwnLoops
from regimen.deepobs.runner import Runner
from regimen.handle import Run
from regimen.optim import optimizer_class
from regimen.spec import RunSettings
from regimen.strategies.benchmark import lr_schedule, standard

__all__ = ["LearningRateScheduleRunner", "PTRunner", "Runner", "StandardRunner"]


class PTRunner(OwnLoops, Runner):
    """The base of runners on PyTorch. A subclass gives `training`, which fills the output dictionary:

    >>> class MyRunner(PTRunner):
    ...     def training(self, testproblem, hyperparams, num_epochs, **training_params):
    ...         optimizer = self._optimizer_class(testproblem.net.parameters(), **hyperparams)
    ...         ...  # `regimen new runner NAME` writes a complete loop
    ...         return {"train_losses": [], "valid_losses": [], "test_losses": []}
    """

    @staticmethod
    def find_optimizer(name: str) -> type:
        return optimizer_class(name)

    @staticmethod
    def optimizer_setting(optimizer_class: type) -> str:
        name = optimizer_class.__name__
        return name.lower() if getattr(torch.optim, name, None) is optimizer_class else import_name(optimizer_class)

    @staticmethod
    def create_testproblem(
        testproblem: str, batch_size: int | None, weight_decay: float | None, random_seed: int
    ) -> TestProblem:
        """A test problem that is set up, for use by hand; None means the problem's own. Nothing is recorded."""
        problem = made_problem(testproblem, batch_size, weight_decay)
        made = TestProblem(problem, Run.unrecorded(Path(os.devnull), RunSettings(seed=random_seed)))
        made.set_up()
        return made


class StandardRunner(PTRunner, standard.StandardRunner):
    """Trains with fixed hyperparameters: the strategy `standard` under DeepOBS' name."""

    name = ""
    resume = "exact"
    is_facade_of = "standard"
    training = standard.StandardRunner.training


class LearningRateScheduleRunner(PTRunner, lr_schedule.LearningRateScheduleRunner):
    """Multiplies the base rate by `lr_sched_factors` from `lr_sched_epochs` on: the strategy `lr_schedule`."""

    name = ""
    resume = "exact"
    is_facade_of = "lr_schedule"
    training = lr_schedule.LearningRateScheduleRunner.training
