"""The training loop on TensorFlow: what the built-in runners share, on public calls of the test problem.

It records what the loop of PyTorch does under the same names. It keeps no checkpoints: a run that was stopped begins
again, and ends with the same bytes.
"""

from __future__ import annotations

from typing import Any

from regimen.benchmark.epochs import EpochSchedule, History
from regimen.benchmark.tf.framework import tensorflow
from regimen.benchmark.tf.testproblem import TFTestProblem


def train_by_epochs(
    testproblem: TFTestProblem, optimizer: Any, num_epochs: int, schedule: EpochSchedule | None = None
) -> dict[str, Any]:
    """Evaluates, trains `num_epochs` epochs, and evaluates after each; returns an output dictionary.

    `schedule` gives the factor of the optimizer's base rate at the begin of an epoch. Raises `Diverged` before a step
    whose loss or gradient is not finite.
    """
    run, history = testproblem.run, History()
    run.listen(history.hear)
    log = _Log(testproblem, optimizer, num_epochs)
    base = _rate(optimizer) if schedule else 0.0
    for epoch in range(num_epochs + 1):
        values = testproblem.values()
        history.add(values)
        run.log(testproblem.num_steps, {**values, "train/epoch": float(epoch)})
        if epoch == num_epochs:
            return history.output
        if schedule:
            optimizer.learning_rate = base * schedule.factor(testproblem.num_steps, 0.0, 0.0, epoch)
        _train_epoch(testproblem, optimizer, log)
    return history.output


def _train_epoch(testproblem: TFTestProblem, optimizer: Any, log: _Log) -> None:
    tf, variables = tensorflow(), testproblem.net.trainable_variables
    testproblem.train_init_op()
    while True:
        try:
            with tf.GradientTape() as tape:
                loss, _ = testproblem.get_batch_loss_and_accuracy()
        except StopIteration:
            return
        gradients = tape.gradient(loss, variables)
        norm = float(tf.linalg.global_norm(gradients))
        testproblem.check_finite("the norm of the gradient", norm)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        log.add(float(loss), norm)


class _Log:
    """Means of the training loss since the last recorded line."""

    def __init__(self, testproblem: TFTestProblem, optimizer: Any, num_epochs: int) -> None:
        self.testproblem, self.optimizer, self.run = testproblem, optimizer, testproblem.run
        self.steps_an_epoch = len(testproblem.batches)
        self.num_steps = num_epochs * self.steps_an_epoch
        self.window: list[tuple[float, float]] = []

    def add(self, loss: float, norm: float) -> None:
        """One step that was made."""
        step = self.testproblem.num_steps
        self.window.append((loss, norm))
        self.run.should_stop(step, epochs=step / self.steps_an_epoch)
        if step % self.run.settings.log.every == 0 or step == self.num_steps:
            self._record(step)

    def _record(self, step: int) -> None:
        loss, norm = (sum(values) / len(values) for values in zip(*self.window, strict=True))
        self.window = []
        values = {"train/loss": loss, "train/grad_norm": norm, "train/epoch": step / self.steps_an_epoch}
        if hasattr(self.optimizer, "learning_rate"):
            values["train/lr"] = _rate(self.optimizer)
        timing = {"time/elapsed_s": self.run.elapsed_s, "time/fraction": step / self.num_steps}
        self.run.log(step, {**values, **timing})


def _rate(optimizer: Any) -> float:
    """The learning rate as it was set: kept in single precision, 0.01 would be recorded as 0.00999999977."""
    return float(str(optimizer.learning_rate.numpy()))
