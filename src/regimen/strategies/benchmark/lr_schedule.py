"""The runner with a learning rate that changes at given epochs."""

from __future__ import annotations

from typing import Any

from regimen.benchmark.epochs import EpochSchedule, train_by_epochs
from regimen.benchmark.runner import Runner
from regimen.benchmark.schedule import ScheduledByEpoch
from regimen.benchmark.testproblem import TestProblem


class LearningRateScheduleRunner(ScheduledByEpoch, Runner):
    """Multiplies the base learning rate by a factor from each of some epochs on."""

    name = "lr_schedule"
    resume = "exact"

    def training(
        self,
        testproblem: TestProblem,
        hyperparams: dict[str, Any],
        num_epochs: int,
        lr_sched_epochs: list[int] | None = None,
        lr_sched_factors: list[float] | None = None,
        **training_params: Any,
    ) -> dict[str, Any]:
        schedule = EpochSchedule(lr_sched_epochs or (), lr_sched_factors or ())
        return train_by_epochs(testproblem, self.make_optimizer(testproblem, hyperparams), schedule)
