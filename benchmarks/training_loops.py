"""One test problem trained three ways: by a loop written by hand, by the standard runner, and as a recorded run."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import regimen
from regimen.benchmark.problem import Problem
from regimen.benchmark.testproblem import TestProblem
from regimen.events import Metrics
from regimen.execute import prepare
from regimen.handle import Run


def description(task: Any, **more: Any) -> dict[str, Any]:
    optimizer = {"name": "sgd", "lr": 1e-3, "momentum": 0.9}
    return {
        "task": task,
        "strategy": {"name": "standard", "optimizer": optimizer},
        "threads": 1,
        "evaluate": {"every": 10**9},
        "checkpoint": {"every": 10**9, "keep": 1},
        **more,
    }


class Loop:
    """One problem, trained for some steps in three ways. Each returns CPU seconds of these steps alone."""

    def __init__(self, name: str, data: Path | None, steps: int, folder: Path) -> None:
        task = {"name": name, "data_dir": str(data)} if data and "mnist" in name else {"name": name}
        self.described = description(task, budget={"steps": steps}, output=str(folder))
        self.steps, self.folder = steps, folder
        problem = prepare(self.described).task
        assert isinstance(problem, Problem)
        self.live = TestProblem(problem, Run.unrecorded(folder))
        self.live.set_up()
        rows = self.live.data.train
        self.inputs = problem.transform(rows.inputs[torch.arange(rows.num_rows)])
        self.targets = rows.targets[torch.arange(rows.num_rows)]

    def by_hand(self) -> float:
        """What one writes without any framework."""
        net, classifies = self.live.problem.make_net(), self.live.problem.name != "quadratic_deep"
        dataset = TensorDataset(self.inputs, self.targets)
        loader = DataLoader(dataset, batch_size=self.live.batch_size, shuffle=True, drop_last=True)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
        left, began = self.steps, time.process_time()
        while left:
            for x, y in itertools.islice(loader, left):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(x), y) if classifies else net(x).mean()
                loss.backward()
                optimizer.step()
                left -= 1
        return time.process_time() - began

    def unrecorded(self) -> float:
        """The standard runner, without a record."""
        prepared, watch = prepare(self.described), Watch(self.steps)
        run = Run.unrecorded(self.folder, prepared.spec)
        run.listen(watch.hear)
        prepared.strategy.train(prepared.task, run)
        return watch.seconds

    def recorded(self) -> float:
        """A whole run, of which the training steps count."""
        watch = Watch(self.steps)
        regimen.run(
            self.described, listeners=[lambda e: watch.hear(e.step, e.values) if isinstance(e, Metrics) else None]
        )
        return watch.seconds


class Watch:
    """CPU seconds from the evaluation before the first step to the line that records the last one."""

    def __init__(self, steps: int) -> None:
        self.steps, self.began, self.seconds = steps, 0.0, math.nan

    def hear(self, step: int, values: Mapping[str, float]) -> None:
        if step == 0:
            self.began = time.process_time()
        elif step == self.steps and "train/loss" in values:
            self.seconds = time.process_time() - self.began
