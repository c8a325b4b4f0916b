"""Learning rates that change at given epochs: the settings of every runner that has them, and what can be wrong."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from regimen.errors import Problem
from regimen.spec import RunSettings
from regimen.strategy import Finding, Strategy
from regimen.task import Task


class ScheduledByEpoch(Strategy):
    """To be a base of a runner, before the runner's own: adds the two settings of DeepOBS and their checks."""

    lr_sched_epochs: Annotated[
        list[int], Field(description="epochs (from 0) from which on the factors hold, in rising order")
    ] = []
    lr_sched_factors: Annotated[
        list[float], Field(description="one for each of these epochs, relative to the base rate and not to each other")
    ] = []

    def preflight(self, task: Task, settings: RunSettings) -> list[Finding]:
        found = super().preflight(task, settings)
        epochs, factors = self.lr_sched_epochs, self.lr_sched_factors
        if len(epochs) != len(factors):
            text = f"has {len(factors)} factors, and lr_sched_epochs has {len(epochs)} epochs."
            found.append(Finding("error", Problem("strategy.lr_sched_factors", text, "Give one for each.")))
        if sorted(set(epochs)) != epochs or any(epoch < 0 for epoch in epochs):
            text, fix = f"is {epochs}; expected rising epochs from 0 on.", "Sort them."
            found.append(Finding("error", Problem("strategy.lr_sched_epochs", text, fix)))
        if any(factor < 0 for factor in factors):
            text = f"is {factors}; a factor below 0 would climb the loss."
            found.append(Finding("error", Problem("strategy.lr_sched_factors", text, "Give factors from 0 on.")))
        return found
