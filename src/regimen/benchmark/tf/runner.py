"""The base of runners on TensorFlow 2: the same hooks, settings and output as on PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from regimen.benchmark.runner import Runner
from regimen.benchmark.tf.framework import made_repeatable, tensorflow
from regimen.benchmark.tf.optimizers import KerasOptimizer, KerasSettings, keras_optimizer_class, why_not_made
from regimen.errors import Problem as Wrong
from regimen.handle import Run
from regimen.spec import RunSettings
from regimen.strategy import Finding
from regimen.task import Task

if TYPE_CHECKING:
    from regimen.benchmark.testproblem import TestProblem


class TFRunner(Runner):
    """Trains with an optimizer of Keras. `training` gets a `TFTestProblem` and the hyperparameters as Keras names them
    (`learning_rate`).

    Can be imported and subclassed without TensorFlow; a run raises `MissingExtra`.
    """

    optimizer: Annotated[
        KerasOptimizer, Field(description="what is tested, an optimizer of Keras, with its own hyperparameters")
    ] = KerasSettings(name="sgd", lr=0.01)

    def make_optimizer(self, testproblem: TestProblem, hyperparams: Mapping[str, Any]) -> Any:
        """The optimizer under test, its state made for the net's variables."""
        optimizer = keras_optimizer_class(self.optimizer.name)(**hyperparams)
        if hasattr(optimizer, "build"):
            optimizer.build(testproblem.net.trainable_variables)
        return optimizer

    def why_not(self, task: Task) -> str | None:
        from regimen.benchmark.problem import Problem
        from regimen.benchmark.tf.forms import why_no_form

        reason = super().why_not(task)
        if reason:
            return reason
        tensorflow()
        assert isinstance(task, Problem)
        return why_no_form(task)

    def preflight(self, task: Task, settings: RunSettings) -> list[Finding]:
        found = super().preflight(task, settings)
        if settings.device not in ("auto", "cpu"):
            text = f"is {settings.device!r}; on TensorFlow a runner trains on the CPU."
            found.append(Finding("error", Wrong("device", text, "Choose cpu.")))
        found += [Finding("warning", Wrong("threads", note)) for note in made_repeatable(settings.threads or 1)]
        if settings.threads is None:
            text = "is not set; TensorFlow works with one."
            found.append(Finding("info", Wrong("threads", text, "Set it for more.")))
        reason = why_not_made(self.optimizer)
        if reason:
            found.append(Finding("error", Wrong("strategy.optimizer", reason, "Correct the value.")))
        return found

    def live_problem(self, task: Task, run: Run) -> TestProblem:
        from regimen.benchmark.problem import Problem
        from regimen.benchmark.tf.testproblem import TFTestProblem

        assert isinstance(task, Problem)
        return TFTestProblem(task, run)

    def hyperparams_for(self, testproblem: TestProblem) -> dict[str, Any]:
        return self.optimizer.hyperparameters
