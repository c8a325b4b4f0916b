"""The one trainer on a test problem: what the built-in runners share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from regimen.benchmark.testproblem import TestProblem
from regimen.processes import Processes
from regimen.trainer import Plan, RateSchedule, Trainer

LISTS = {"train_eval": "train", "valid": "valid", "test": "test"}
"""Split of the record, and the word for it in an output dictionary."""


class EpochSchedule:
    """The factor of the base rate: 1 until the first epoch that is named, then that epoch's own.

    >>> schedule = EpochSchedule([2, 4], [0.1, 0.01])
    >>> [schedule.factor(0, 0.0, 0.0, epoch) for epoch in (0, 1.9, 2, 3.5, 4)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """

    def __init__(self, epochs: Sequence[float], factors: Sequence[float]) -> None:
        self.changes = [(0.0, 1.0), *zip(epochs, factors, strict=True)]

    def factor(self, step: int, before: float, after: float, epochs: float) -> float:
        return [factor for begins, factor in self.changes if begins <= epochs][-1]


class History:
    """The lists of an output dictionary, part of every checkpoint, so that a resumed run returns whole ones."""

    def __init__(self) -> None:
        self.output: dict[str, Any] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """One evaluation."""
        for split, word in LISTS.items():
            for ending, plural in (("loss", "losses"), ("accuracy", "accuracies")):
                if f"{split}/{ending}" in values:
                    self.output.setdefault(f"{word}_{plural}", []).append(values[f"{split}/{ending}"])

    def hear(self, step: int, values: Mapping[str, float]) -> None:
        """One recorded line of the training loss."""
        if "train/loss" in values:
            self.output.setdefault("minibatch_train_losses", []).append(values["train/loss"])

    def state_dict(self) -> dict[str, Any]:
        return {"output": {name: list(numbers) for name, numbers in self.output.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.output = {name: list(numbers) for name, numbers in state["output"].items()}


def train_by_epochs(
    testproblem: TestProblem, optimizer: torch.optim.Optimizer, schedule: RateSchedule | None = None
) -> dict[str, Any]:
    """Trains within the budget of the test problem's run; returns an output dictionary.

    Evaluates all splits before the first step and, unless `evaluate.every` says otherwise, after each epoch.
    """
    run, settings, history = testproblem.run, testproblem.run.settings, History()

    def evaluate() -> Mapping[str, float]:
        values = testproblem.values()
        history.add(values)
        return values

    run.listen(history.hear)
    Trainer(
        testproblem.net,
        testproblem.batches,
        testproblem.training_loss,
        optimizer,
        run,
        Plan(
            schedule=schedule,
            precision="fp32" if settings.precision == "auto" else settings.precision,
            evaluate=settings.evaluate,
            checkpoint=settings.checkpoint,
            log=settings.log,
        ),
        evaluate=evaluate,
        state={"history": history},
        processes=Processes(rank=0, world=1, device=testproblem.device),
    ).train()
    return history.output
