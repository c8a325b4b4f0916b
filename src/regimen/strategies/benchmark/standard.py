"""The standard runner: an optimizer with fixed hyperparameters."""

from __future__ import annotations

from typing import Any

from regimen.benchmark.epochs import train_by_epochs
from regimen.benchmark.runner import Runner
from regimen.benchmark.testproblem import TestProblem


class StandardRunner(Runner):
    """Trains a test problem with fixed hyperparameters, and evaluates it before training and after each epoch."""

    name = "standard"
    resume = "exact"

    def training(
        self, testproblem: TestProblem, hyperparams: dict[str, Any], num_epochs: int, **training_params: Any
    ) -> dict[str, Any]:
        return train_by_epochs(testproblem, self.make_optimizer(testproblem, hyperparams))
