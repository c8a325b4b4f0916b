"""A sampler around another one: what it plans is drawn again until it lies within a range of costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from regimen.choices import PluginOf
from regimen.errors import Problem, Refused, StrategyFailed
from regimen.nas.sampler import Path, Sampler
from regimen.nas.searchproblem import CostLimits, SearchProblem
from regimen.nas.supernet import Supernet
from regimen.settings import PluginSettings
from regimen.spec import Choice
from regimen.task import Task

if TYPE_CHECKING:
    from regimen.nas.supernettask import SupernetTask


class WithinCost(Sampler):
    """Trains what another sampler plans, if every path of the step costs what is allowed; else it has a new plan made.

    All of a step's paths are drawn again together, so that what holds within a plan (strict fairness) still holds. A
    sampler that counts over several steps is refused, and so is one whose first plans are never within the range.
    """

    name = "within_cost"

    sampler: Annotated[Choice, PluginOf("nas"), Field(description="the sampler that plans: {name: uniform}")] = Choice(
        name="uniform"
    )
    cost: Annotated[CostLimits, Field(description="what each path may cost: {min: {params: 1e4}, max: {mmac: 2.0}}")]
    tries: Annotated[int, Field(ge=1, description="plans that are drawn for one step, at most")] = 1_000

    @cached_property
    def inner(self) -> Sampler:
        """The sampler that plans."""
        made: Sampler = self._made(self.sampler)
        return made

    def why_not(self, task: Task) -> str | None:
        return super().why_not(task) or self.inner.why_not(task)

    def prepare(self, task: SupernetTask) -> None:
        super().prepare(task)
        self._check_settings()
        self.inner.prepare(task)
        supernet = self.looked_at(task)
        costs = [self.cost_of(task, unit) for unit in self.cost.ranges()]
        self.keep(SearchProblem.of(supernet.space, costs, self.cost, "strategy.cost"))
        self._try(task, supernet)

    def keep(self, problem: SearchProblem) -> None:
        """Gives it the limits with their costs; a run makes them from the setting."""
        self.problem = problem

    def _check_settings(self) -> None:
        """Raises `Refused` for a setting of the inner sampler that this one has, too: it would have no effect."""
        if not self.cost.ranges():
            raise Refused(Problem("strategy.cost", "limits nothing.", "Give a min or a max, or leave the wrapper out."))
        given = self.sampler
        assert isinstance(given, PluginSettings)
        needed = {name: getattr(given, name) for name, field in type(given).model_fields.items() if field.is_required()}
        values, usual = given.model_dump(), type(given)(**needed).model_dump()
        for name in sorted(values.keys() & _common()):
            if values[name] != usual[name]:
                text = "has no effect: the sampler around it trains."
                raise Refused(Problem(f"strategy.sampler.{name}", text, f"Set strategy.{name}."))

    def _try(self, task: SupernetTask, supernet: Supernet) -> None:
        """Raises `Refused` where another one of the inner sampler may not make new plans, or makes none in range."""
        trial: Sampler = self._made(self.sampler)
        trial.prepare(task)
        trial.attach(supernet, np.random.default_rng(0))
        reason = trial.why_not_again()
        if reason:
            raise Refused(Problem("strategy.sampler", reason, "Choose another one, such as uniform."))
        if any(path.architecture is None for path in trial.plan(0)):
            text = f"is {self.sampler.name}, which adds all choices: its steps have no cost."
            raise Refused(Problem("strategy.sampler", text, "Choose one of single paths, such as uniform."))
        if self._drawn(trial, 0) is None:
            text = f"holds none of {self.tries:,} plans of {self.sampler.name}."
            raise Refused(Problem("strategy.cost", text, self._reach()))

    def _reach(self) -> str:
        ranges = [(limit.cost.unit, *limit.cost.reach()) for limit in self.problem.limits]
        reach = ", ".join(f"{low:g} to {high:g} {unit}" for unit, low, high in ranges)
        return f"Widen it (architectures have {reach}), or plan fewer paths a step."

    # ------------------------------------------------------------------ what it says as a sampler

    def attach(self, model: Supernet, generator: np.random.Generator) -> None:
        super().attach(model, generator)
        self.inner.attach(model, generator)

    def plan(self, step: int) -> list[Path]:
        found = self._drawn(self.inner, step)
        if found is None:
            text = f"none of {self.tries:,} plans of {self.sampler.name} for step {step} is within strategy.cost."
            raise StrategyFailed(Problem("sampler within_cost", text, self._reach()))
        return found

    def _drawn(self, sampler: Sampler, step: int) -> list[Path] | None:
        """The first plan of the sampler that is within the range as a whole."""
        for _ in range(self.tries):
            paths = sampler.plan(step)
            chosen = [path.architecture for path in paths if path.architecture is not None]
            if self.problem.allowed(chosen).all():
                return paths
        return None

    def generate_training_architecture(self) -> Sequence[int]:
        """The first of the inner sampler's that is within the range."""
        for _ in range(self.tries):
            found = self.model.space.check(self.inner.generate_training_architecture())
            if self.problem.allowed([found])[0]:
                return found
        text = f"none of {self.tries:,} architectures of {self.sampler.name} is within strategy.cost."
        raise StrategyFailed(Problem("sampler within_cost", text, self._reach()))

    def why_not_again(self) -> str | None:
        return self.inner.why_not_again()

    def observe(self, losses: Sequence[float]) -> None:
        self.inner.observe(losses)

    def state_dict(self) -> dict[str, Any]:
        return {"sampler": self.inner.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state["sampler"])


def _common() -> set[str]:
    """The settings that every sampler has."""
    return {name for name in Sampler.__annotations__ if name not in ("family", "forward")}
