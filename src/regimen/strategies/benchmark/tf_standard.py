"""The standard runner on TensorFlow 2: an optimizer of Keras with fixed hyperparameters."""

from __future__ import annotations

from typing import Any

from regimen.benchmark.testproblem import TestProblem
from regimen.benchmark.tf.epochs import train_by_epochs
from regimen.benchmark.tf.runner import TFRunner
from regimen.benchmark.tf.testproblem import TFTestProblem


class TFStandardRunner(TFRunner):
    """Trains a test problem on TensorFlow with fixed hyperparameters, and evaluates it before training and after each
    epoch.
    """

    name = "tf_standard"

    def training(
        self, testproblem: TestProblem, hyperparams: dict[str, Any], num_epochs: int, **training_params: Any
    ) -> dict[str, Any]:
        assert isinstance(testproblem, TFTestProblem)
        return train_by_epochs(testproblem, self.make_optimizer(testproblem, hyperparams), num_epochs)
