"""The runner on TensorFlow 2 with a learning rate that changes at given epochs.

Keras' SGD keeps the rate inside its velocity, and PyTorch's outside: with momentum, the two differ for some steps after
a change.
"""

from __future__ import annotations

from typing import Any

from regimen.benchmark.epochs import EpochSchedule
from regimen.benchmark.schedule import ScheduledByEpoch
from regimen.benchmark.testproblem import TestProblem
from regimen.benchmark.tf.epochs import train_by_epochs
from regimen.benchmark.tf.runner import TFRunner
from regimen.benchmark.tf.testproblem import TFTestProblem


class TFLearningRateScheduleRunner(ScheduledByEpoch, TFRunner):
    """On TensorFlow, multiplies the base learning rate by a factor from each of some epochs on."""

    name = "tf_lr_schedule"

    def training(
        self,
        testproblem: TestProblem,
        hyperparams: dict[str, Any],
        num_epochs: int,
        lr_sched_epochs: list[int] | None = None,
        lr_sched_factors: list[float] | None = None,
        **training_params: Any,
    ) -> dict[str, Any]:
        assert isinstance(testproblem, TFTestProblem)
        schedule = EpochSchedule(lr_sched_epochs or (), lr_sched_factors or ())
        return train_by_epochs(testproblem, self.make_optimizer(testproblem, hyperparams), num_epochs, schedule)
