"""The benchmark family: a runner trains a test problem with the optimizer under test.

    training(testproblem, hyperparams, num_epochs, **training_params) -> output dictionary

Hyperparameters belong to the optimizer and stand below `strategy.optimizer`; training parameters belong to the protocol
and are the runner's other settings: what `training` takes besides, or annotated class attributes. The two never share a
namespace. The hooks are DeepOBS' (Schneider et al., arXiv:1903.05499).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from regimen.benchmark.files.export import export_beside
from regimen.benchmark.output import check_output, finals, unrecorded
from regimen.errors import Diverged
from regimen.errors import Problem as Wrong
from regimen.handle import Run
from regimen.optim import Optimizer, OptimizerSettings
from regimen.spec import RunSettings
from regimen.strategy import Finding, Strategy
from regimen.task import Task

if TYPE_CHECKING:
    import torch

    from regimen.benchmark.testproblem import Phase, TestProblem

LOGGING = ("print_train_iter", "train_log_interval", "tb_log", "tb_log_dir")
"""What DeepOBS passes to `training` for its logs; given to a loop that names them."""
PHASES: Mapping[str, Phase] = {"TRAIN": "train_eval", "VALID": "valid", "TEST": "test"}


class Runner(Strategy):
    """The base of runners. A loop of one's own is `training`; `resume` is then `restart`, since a loop that keeps no
    checkpoint runs again from the start.
    """

    family = "benchmark"
    resume: ClassVar[Literal["exact", "restart"]] = "restart"
    parameters_from: ClassVar[str] = "training"
    """Keyword parameters of this method are settings, too."""
    given_parameters: ClassVar[tuple[str, ...]] = LOGGING
    """Keyword parameters of it that the framework gives: no settings."""
    diverged_at: ClassVar[int | None] = None
    """On an object: the epoch at which a loop of one's own gave up."""

    optimizer: Annotated[
        Optimizer, Field(description="what is tested, with its hyperparameters under their own names")
    ] = OptimizerSettings(name="sgd", lr=0.01)
    optimizer_name: Annotated[
        str | None,
        Field(description="its name in results; unset: its class, with SGD, Momentum and Nesterov told apart"),
    ] = None

    # ------------------------------------------------------------------ the loop

    def training(
        self, testproblem: TestProblem, hyperparams: dict[str, Any], num_epochs: int, **training_params: Any
    ) -> dict[str, Any]:
        """Trains, and returns `train_losses, valid_losses, test_losses` and, where there is one, `*_accuracies`: each
        with num_epochs + 1 numbers, the first of the untrained model; `minibatch_train_losses` besides.
        """
        raise TypeError(f"{type(self).__name__} has no training(testproblem, hyperparams, num_epochs)")

    def make_optimizer(self, testproblem: TestProblem, hyperparams: Mapping[str, Any]) -> torch.optim.Optimizer:
        """The optimizer under test over the net's parameters."""
        from regimen.optim import make_optimizer

        settings = OptimizerSettings(name=self.optimizer.name, **hyperparams)
        return make_optimizer(settings, testproblem.net.parameters(), on_gpu=testproblem.device.type == "cuda")

    # ------------------------------------------------------------------ evaluation

    @staticmethod
    def evaluate(tproblem: TestProblem, phase: str) -> tuple[float, float]:
        """(loss, accuracy) over all rows of the phase `TRAIN`, `VALID` or `TEST`; recorded. Without the penalty."""
        values = tproblem.values_of(PHASES[phase])
        tproblem.run.log(tproblem.num_steps, {**values, "train/epoch": float(tproblem.num_epochs_begun)})
        return values[f"{PHASES[phase]}/loss"], values.get(f"{PHASES[phase]}/accuracy", 0.0)

    def evaluate_all(
        self,
        epoch: int,
        num_epochs: int,
        tproblem: TestProblem,
        train_losses: list[float],
        valid_losses: list[float],
        test_losses: list[float],
        train_accuracies: list[float],
        valid_accuracies: list[float],
        test_accuracies: list[float],
    ) -> None:
        """Evaluates all three and appends to the lists; to be called before each epoch and after the last one."""
        lists = (train_losses, train_accuracies), (valid_losses, valid_accuracies), (test_losses, test_accuracies)
        for phase, (losses, accuracies) in zip(PHASES, lists, strict=True):
            loss, accuracy = self.evaluate(tproblem, phase)
            losses.append(loss)
            accuracies.append(accuracy)
        if tproblem.weight_decay:
            tproblem.run.log(tproblem.num_steps, tproblem.penalty())

    # ------------------------------------------------------------------ in a run

    def why_not(self, task: Task) -> str | None:
        from regimen.benchmark.problem import Problem
        from regimen.processes import num_launched

        if not isinstance(task, Problem):
            return f"a runner trains test problems, and {task.name} is none. `regimen plugins` lists them."
        if num_launched() > 1:
            return f"a runner trains in one process, and {num_launched()} were started. Start it without torchrun."
        return None

    def preflight(self, task: Task, settings: RunSettings) -> list[Finding]:
        found: list[Wrong] = []
        if settings.evaluate.max_rows is not None:
            text = f"is {settings.evaluate.max_rows}, and a test problem is evaluated on all rows of its splits."
            found.append(Wrong("evaluate.max_rows", text, "Remove it."))
        if self.resume == "restart":
            found += _of_own_loops(settings)
        elif settings.precision == "fp16" and not settings.device.startswith("cuda"):
            found.append(Wrong("precision", "is fp16, which only a GPU computes in.", "Set bf16 or fp32."))
        return [Finding("error", problem) for problem in found]

    @property
    def training_params(self) -> dict[str, Any]:
        """The settings of the runner that are neither the optimizer's nor its name."""
        fields = type(self.settings).model_fields  # type: ignore[attr-defined]  # set by the registry
        return {name: getattr(self, name) for name in fields if name not in ("name", "optimizer", "optimizer_name")}

    def live_problem(self, task: Task, run: Run) -> TestProblem:
        """What `training` gets, not set up yet."""
        from regimen.benchmark.problem import Problem
        from regimen.benchmark.testproblem import TestProblem
        from regimen.processes import Processes

        assert isinstance(task, Problem)
        return TestProblem(task, run, Processes.join(run.settings.device).device)

    def hyperparams_for(self, testproblem: TestProblem) -> dict[str, Any]:
        """The hyperparameters as `training` gets them; those that are optimizers themselves are made."""
        return self.optimizer.hyperparameters_over(testproblem.net.parameters())

    def logging_params(self, run: Run) -> dict[str, Any]:
        """DeepOBS' arguments for its logs, for a loop that names them."""
        every = run.settings.log.every
        return {"print_train_iter": False, "train_log_interval": every, "tb_log": False, "tb_log_dir": None}

    def train(self, task: Task, run: Run) -> dict[str, float]:
        from regimen.machine import machine_set  # imports torch, which describing a runner does not need

        testproblem = self.live_problem(task, run)
        with machine_set(run.settings, testproblem.device):
            return self._train(testproblem, run)

    def _train(self, testproblem: TestProblem, run: Run) -> dict[str, float]:
        testproblem.set_up()
        num_epochs = int(run.budget.epochs or 0)
        accepted = inspect.signature(self.training).parameters
        given = {name: value for name, value in self.logging_params(run).items() if name in accepted}
        hyperparams = self.hyperparams_for(testproblem)
        try:
            output = self.training(testproblem, hyperparams, num_epochs, **given, **self.training_params)
            final = self._settled(output, testproblem, num_epochs)
        except Diverged:
            export_beside(run.folder, "diverged")
            raise
        export_beside(run.folder, "completed")
        return final

    def _settled(self, output: Any, testproblem: TestProblem, num_epochs: int) -> dict[str, float]:
        """Checks and records what a loop returned; the built-in ones have recorded it themselves."""
        run = testproblem.run
        if self.resume == "exact":
            return finals(output)
        check_output(output, type(self).__name__, num_epochs if self.diverged_at is None else None)
        if not testproblem.has_accuracy:  # `evaluate` answered 0.0, which is no measurement
            output = {name: numbers for name, numbers in output.items() if not name.endswith("accuracies")}
        for step, values in unrecorded(output, len(testproblem.batches), run):
            run.log(step, values)
        run.should_stop(testproblem.num_steps, epochs=num_epochs)
        if self.diverged_at is not None:
            text = f"{type(self).__name__} gave up: a loss was not finite."
            raise Diverged(Wrong(f"epoch {self.diverged_at}", text, "Lower the learning rate."), testproblem.num_steps)
        return finals(output)


def _of_own_loops(settings: RunSettings) -> Iterator[Wrong]:
    """Settings that a loop of one's own does not read."""
    limits = settings.budget.limits()
    if limits.keys() != {"epochs"} or limits["epochs"] % 1:
        said = ", ".join(f"{unit}: {limit:g}" for unit, limit in limits.items())
        yield Wrong("budget", f"is {said}; a loop of its own counts whole epochs.", "Give whole epochs alone.")
    why = "and a loop of its own decides that itself"
    if settings.evaluate.every is not None:
        yield Wrong("evaluate.every", f"is {settings.evaluate.every}, {why}.", "Remove it.")
    if settings.checkpoint.best is not None:
        yield Wrong("checkpoint.best", f"is {settings.checkpoint.best!r}, {why}.", "Remove it.")
    if settings.precision not in ("auto", "fp32"):
        yield Wrong("precision", f"is {settings.precision}, {why}.", "Remove it.")
