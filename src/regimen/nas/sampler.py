"""Samplers: which sub-network each training step of a supernet trains. The training strategies of this family.

    sampler.step()                       before each iteration, as in OSNASLib
    sampler.plan(step) -> [Path, ...]    what is trained in it; one path by default

A step of several paths runs each forward and backward on the same batch, adds the gradients, and makes one update:
strict fairness, the sandwich rule and the like are samplers, not trainers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from regimen.choices import PluginOf
from regimen.errors import Problem, Refused
from regimen.handle import Run
from regimen.nas.cost import CostTable, Unit
from regimen.nas.costing import cost_table
from regimen.nas.criterion import Criterion
from regimen.nas.evaluating.choice import EvaluatorSettings
from regimen.nas.jointcost import JointCost
from regimen.nas.ranking import FEWEST
from regimen.nas.searcher import Searcher
from regimen.nas.searchspace import Inputs
from regimen.nas.space import Architecture
from regimen.nas.supernet import ForwardState, Supernet
from regimen.optim import Optimizer, OptimizerSettings, Schedule
from regimen.processes import Processes, num_launched
from regimen.settings import PluginSettings
from regimen.spec import Choice, RunSettings
from regimen.strategy import Finding, Strategy
from regimen.task import Task

if TYPE_CHECKING:
    from regimen.nas.supernettask import SupernetTask


@dataclass(frozen=True)
class Path:
    """One forward and backward pass of a step."""

    architecture: Architecture | None = None
    """None in the states that add all choices."""
    weight: float = 1.0
    """Of its loss in the step's."""
    distill_from: int | None = None
    """The number of an earlier path of this step whose outputs are the targets."""
    forward: ForwardState = "single"
    tau: float = 1.0


class Sampler(Strategy):
    """The base of samplers. `BaseSampler(model)` is the same, under OSNASLib's name.

    `model` is the supernet, `generator` the sampler's own, whose state is part of every checkpoint. A subclass gives
    `generate_training_architecture`, or `plan` for steps of more than one path.
    """

    family = "nas"
    forward: ClassVar[ForwardState] = "single"
    """The state in which its paths are computed; a space that has no such state is refused before anything is spent."""

    optimizer: Annotated[Optimizer, Field(description="of the weights, the supernet's and the found network's")] = (
        OptimizerSettings.model_validate({"name": "sgd", "lr": 0.1, "momentum": 0.9})
    )
    schedule: Annotated[Schedule, Field(description="how the learning rate moves over each training")] = Schedule(
        name="cosine", warmup=0
    )
    batch_size: Annotated[int, Field(ge=2, description="pictures a step")] = 64
    clip_norm: Annotated[float | None, Field(gt=0, description="largest norm of the gradient; null: not clipped")] = 5.0
    criterion: Annotated[Choice, PluginOf("criterion"), Field(description="what is made small")] = Choice(
        name="cross_entropy"
    )
    batch_norm: Annotated[
        Literal["recalibrated", "batch", "running"],
        Field(
            description="statistics that an architecture is judged with: its own from training rows, or the supernet's"
        ),
    ] = "recalibrated"
    search: Annotated[
        Annotated[Choice, PluginOf("searcher")] | None,
        Field(description="what looks for the best architecture; null: the supernet is only trained"),
    ] = Choice(name="evolution")
    evaluator: Annotated[
        EvaluatorSettings, Field(description="what judges the architectures of the search; its name alone will do")
    ] = EvaluatorSettings()
    retrain: Annotated[
        float | None, Field(gt=0, description="epochs that the found network is trained from scratch; null: not")
    ] = 20
    rank: Annotated[
        int, Field(ge=0, description="random networks that are trained alone, to see how well the evaluator ranks them")
    ] = 0
    rank_seeds: Annotated[
        int, Field(ge=1, description="trainings of each of those; how well two agree says how sure their order is")
    ] = 2
    rank_epochs: Annotated[float, Field(gt=0, description="epochs of each of those")] = 20

    @cached_property
    def made_criterion(self) -> Criterion:
        made: Criterion = self._made(self.criterion)
        return made

    @cached_property
    def searcher(self) -> Searcher | None:
        made: Searcher | None = None if self.search is None else self._made(self.search)
        return made

    @staticmethod
    def _made(chosen: Choice) -> Any:
        assert isinstance(chosen, PluginSettings), "settings come from the registry"
        return chosen.plugin.make(chosen)

    # ------------------------------------------------------------------ in a run

    def why_not(self, task: Task) -> str | None:
        from regimen.nas.supernettask import SupernetTask
        from regimen.nas.tablerun import TableTask

        if not isinstance(task, SupernetTask | TableTask):
            return f"a sampler trains supernets, and {task.name} has none. `regimen plugins` lists the tasks that do."
        if num_launched() > 1:
            return f"a sampler trains in one process, and {num_launched()} were started. Start it without torchrun."
        return None

    def preflight(self, task: Task, settings: RunSettings) -> list[Finding]:
        from regimen.nas.running import misfits
        from regimen.nas.supernettask import SupernetTask
        from regimen.nas.tablerun import TableTask, misfits_of_table

        if isinstance(task, TableTask):
            return [Finding("error", problem) for problem in misfits_of_table(self, task, settings.budget)]
        assert isinstance(task, SupernetTask)
        found = list(self._misfits(settings, len(task.splits.train.classes)))
        found += misfits(self, task)
        return [*(Finding("error", problem) for problem in found), *self._unused(task, settings)]

    def _misfits(self, settings: RunSettings, num_rows: int) -> Iterator[Problem]:
        """Settings that would have no effect, or be found out only when much has been spent."""
        if settings.evaluate.max_rows is not None:
            text = f"is {settings.evaluate.max_rows}, and architectures are judged on all rows of the valid split."
            yield Problem("evaluate.max_rows", text, "Remove it.")
        if self.rank and self.search is None:
            text = f"is {self.rank}, and nothing is searched, so nothing is ranked."
            yield Problem("strategy.rank", text, "Set it to 0, or give a search.")
        elif 0 < self.rank < FEWEST:
            text = f"is {self.rank}; fewer than {FEWEST} networks have no order worth a number."
            yield Problem("strategy.rank", text, "Set it to 0, or to some 20 and more.")
        if self.batch_size > num_rows:
            text = f"is {self.batch_size}, and there are {num_rows} rows to train on."
            yield Problem("strategy.batch_size", text, "Set a smaller one.")

    def _unused(self, task: Task, settings: RunSettings) -> Iterator[Finding]:
        if self.evaluator.needs_supernet or self.searcher is None or self.searcher.needs_supernet:
            return
        if settings.budget != task.usual_budget:
            text = f"is that of a supernet, and none is trained: {self.evaluator.name} needs none."
            yield Finding("warning", Problem("budget", text, "Remove it; the search has `strategy.search.queries`."))

    def train(self, task: Task, run: Run) -> dict[str, float]:
        from regimen.machine import machine_set
        from regimen.nas.running import ArchitectureRun
        from regimen.nas.supernettask import SupernetTask
        from regimen.nas.tablerun import TableTask, search_table

        if isinstance(task, TableTask):
            return search_table(self, task, run)
        assert isinstance(task, SupernetTask)
        self.prepare(task)
        device = Processes.join(run.settings.device).device
        with machine_set(run.settings, device):
            return ArchitectureRun(self, task, run, device).go()

    # ------------------------------------------------------------------ what a sampler says

    def prepare(self, task: SupernetTask) -> None:
        """Told the task of a run before anything is spent, and again before `attach`: for what the space alone decides,
        such as costs. Raises `Refused` for what cannot be trained.
        """
        if self.forward != "single":
            states = self.looked_at(task).states
            if self.forward not in states:
                text = f"needs the forward state {self.forward}; {task.supernet.space.name} has {', '.join(states)}."
                raise Refused(Problem("strategy.name", text, "Choose a sampler of single paths, such as uniform."))

    def looked_at(self, task: SupernetTask) -> Supernet:
        """A supernet of the task to look at, not the one that is trained. torch's generator stays as it is."""
        with torch.random.fork_rng(devices=[]):
            return task.space.make_supernet(self._inputs(task))

    def cost_of(self, task: SupernetTask, unit: Unit) -> CostTable | JointCost:
        """What the architectures of a task cost."""
        return cost_table(task.space, self._inputs(task), unit, cache=task.cache)

    def _inputs(self, task: SupernetTask) -> Inputs:
        return task.inputs(self.made_criterion.num_outputs(task.num_classes))

    def attach(self, model: Supernet, generator: np.random.Generator) -> None:
        """Gives it the supernet; called once, before the first step."""
        self.model: Supernet = model
        self.generator: np.random.Generator = generator
        if self.forward != "single" and not model.arch_params:
            model.initialize_arch_param(next(model.parameters()).device)

    @property
    def macro_len(self) -> int:
        """Layers of the supernet."""
        return self.model.get_model_cfg_shape()[0]

    @property
    def micro_len(self) -> int:
        """Choices of a layer; the most, where layers differ."""
        return self.model.get_model_cfg_shape()[1]

    def get_block_len(self) -> int:
        """Choices of a layer, by OSNASLib's name."""
        return self.micro_len

    def generate_training_architecture(self) -> Sequence[int]:
        """One choice a layer: what the next iteration trains."""
        raise TypeError(f"{type(self).__name__} has no generate_training_architecture()")

    def step(self) -> None:
        """Called before each iteration; by default generates an architecture."""
        self.generate_training_architecture()

    def plan(self, step: int) -> list[Path]:
        """The paths of iteration `step` (from 0): by default what `step()` generated, in the state that it set."""
        model, made = self.model, list[Sequence[int]]()
        model.set_forward_state("single")
        before, generate = model.active, self.generate_training_architecture

        def noticed() -> Sequence[int]:
            made.append(generate())
            return made[-1]

        self.generate_training_architecture = noticed  # type: ignore[method-assign]
        try:
            self.step()
        finally:
            del self.generate_training_architecture
        if model.state != "single":
            return [Path(forward=model.state, tau=model.tau)]
        if model.active is not before:  # `step` has activated one itself
            return [Path(model.active)]
        return [Path(model.space.check(made[-1] if made else generate()))]

    def why_not_again(self) -> str | None:
        """The reason why a plan may not be thrown away for another one; None where it may."""
        return None

    def observe(self, losses: Sequence[float]) -> None:
        """Told the losses of the step's paths, after the update."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
