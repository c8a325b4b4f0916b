"""The live test problem on TensorFlow, under the same names as on PyTorch.

    problem.train_init_op()
    with tf.GradientTape() as tape:
        loss, accuracy = problem.get_batch_loss_and_accuracy()      StopIteration ends the epoch
    gradients = tape.gradient(loss, problem.net.trainable_variables)

Data, splits and the order of batches are those of PyTorch. The losses of a batch come from one compiled function,
whoever asks, so a loop of one's own and the built-in ones see the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from regimen.benchmark.examples import Examples
from regimen.benchmark.problem import Batch
from regimen.benchmark.testproblem import Measured, Phase, Reduction, ResidentBatches, TestProblem
from regimen.benchmark.tf.forms import Form, made_form
from regimen.benchmark.tf.framework import TFTensor, seed, tensorflow
from regimen.errors import Diverged, StrategyFailed
from regimen.errors import Problem as Wrong
from regimen.seeding import seed_globals

_EVALUATED_AT_ONCE = 1000
"""Rows that one evaluation batch holds at least."""


class TFTestProblem(TestProblem):
    """`net` is a Keras model, or a net of the problem's own; losses are TensorFlow's. See `forms`.

    Once made, the same run gives the same bytes where `framework.made_repeatable` was called first, as runners do.
    """

    net: Any
    form: Form

    def set_up(self) -> None:
        """Reads the data and makes the net with the run's own initial weights. Raises `DataError`, `MissingExtra`."""
        self.data = self.problem.read()
        first = _tensors(next(self._evaluated(self.data.valid, 1)))
        seed(self.run.seed_for("initial weights"))
        seed_globals(self.run.seed_for("initial weights"), self.device)
        self.form = made_form(self.problem, tuple(first[0].shape[1:]))
        self.net = self.form.net
        made = sum(math.prod(variable.shape) for variable in self.net.trainable_variables)
        if made != self.problem.num_parameters:
            text = f"its net has {made:,} parameters, and num_parameters says {self.problem.num_parameters:,}."
            raise StrategyFailed(Wrong(f"task {self.problem.name}", text, "Correct one of the two."))
        self.batches = ResidentBatches(self.problem, self.data.train, self.run, self.device)
        self.regularization_groups = self.get_regularization_groups()
        self._judged = {training: self._compiled(first, training) for training in (True, False)}

    def _compiled(self, like: tuple[TFTensor, TFTensor], training: bool) -> Callable[[TFTensor, TFTensor], Any]:
        """(inputs, targets) to (losses, hits), each (B,), for any number of rows."""
        tf, form = tensorflow(), self.form

        def judged(inputs: TFTensor, targets: TFTensor) -> tuple[TFTensor, TFTensor]:
            outputs = form.net(inputs, training=training)
            losses = form.losses(outputs, targets)
            return losses, form.hits(outputs, targets) if form.hits else tf.zeros_like(losses)

        specs = [tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in like]
        compiled: Callable[[TFTensor, TFTensor], Any] = tf.function(judged, specs, autograph=False)
        return compiled

    @property
    def has_accuracy(self) -> bool:
        return self.form.hits is not None

    def _begin(self, phase: Phase, batches: Iterator[Batch]) -> None:
        self.phase, self._iterator = phase, batches

    # ------------------------------------------------------------------ losses

    def loss_function(self, reduction: Reduction = "mean") -> Callable[[Any, Any], TFTensor]:
        return lambda outputs, targets: _reduced(self.form.losses(outputs, targets), reduction)

    def get_batch_loss_and_accuracy(
        self,
        return_forward_func: bool = False,
        reduction: Reduction = "mean",
        add_regularization_if_available: bool = True,
    ) -> Any:
        """(loss, accuracy) of the next batch; with `return_forward_func`, ((loss, accuracy), forward_func).

        `forward_func(same_randomness=False)` evaluates the same batch again; with the same randomness, Keras' layers
        repeat their masks. Call either within a `tf.GradientTape` to have gradients. Raises `StopIteration` at the end
        of an epoch, and `Diverged` for a first training loss that is not finite.
        """
        forward = self.get_batch_loss_and_accuracy_func(reduction, add_regularization_if_available)
        first = forward(True)
        if self.phase == "train":
            self.check_finite("the loss", float(tensorflow().reduce_sum(first[0])))
        return (first, forward) if return_forward_func else first

    def get_batch_loss_and_accuracy_func(
        self, reduction: Reduction = "mean", add_regularization_if_available: bool = True
    ) -> Callable[..., tuple[TFTensor, float]]:
        """Draws the next batch and returns its `forward_func`."""
        inputs, targets = _tensors(self._get_next_batch())
        judged = self._judged[self.phase == "train"]
        randomness = [(variable, variable.numpy()) for variable in self._random_states()]

        def forward_func(same_randomness: bool = False) -> tuple[TFTensor, float]:
            if same_randomness:
                for variable, state in randomness:
                    variable.assign(state)
            losses, hits = judged(inputs, targets)
            loss = _reduced(losses, reduction)
            if add_regularization_if_available and self.weight_decay:
                loss = loss + self.get_regularization_loss()
            return loss, float(hits.numpy().mean())

        return forward_func

    def check_finite(self, what: str, value: float) -> None:
        """Raises `Diverged` for a value of the step that is about to be made, if it is not finite."""
        if not math.isfinite(value):
            fix = "The step was not made. Lower the learning rate."
            raise Diverged(Wrong(f"step {self.num_steps}", f"{what} is {value}.", fix), self.num_steps)

    def _random_states(self) -> list[Any]:
        """Where Keras' dropout layers are in their sequences of masks."""
        variables = getattr(self.net, "non_trainable_variables", ())
        return [variable for variable in variables if "seed_generator_state" in variable.path]

    def get_regularization_groups(self) -> dict[float, list[Any]]:
        """{factor: variables}: those that the penalty includes, and under 0.0 the others."""
        groups: dict[float, list[Any]] = {self.weight_decay: [], 0.0: []}
        for variable, included in zip(self.net.trainable_variables, self.form.regularized, strict=True):
            groups[self.weight_decay if included else 0.0].append(variable)
        return groups

    def get_regularization_loss(self) -> TFTensor:
        """Half the sum of factor times squared norm; differentiable."""
        tf = tensorflow()
        total = tf.zeros(())
        for factor, variables in self.regularization_groups.items():
            for variable in variables if factor else ():
                total = total + 0.5 * factor * tf.reduce_sum(tf.square(variable))
        return total

    # ------------------------------------------------------------------ evaluation

    def measure(self, phase: Phase) -> Measured:
        """The means over all rows of a split, in evaluation mode. Leaves no trace in training."""
        rows: Examples = getattr(self.data, phase)
        loss, right = 0.0, 0.0
        for batch in self._evaluated(rows, max(self.batch_size, _EVALUATED_AT_ONCE)):
            losses, hits = self._judged[False](*_tensors(batch))
            loss += float(losses.numpy().sum(dtype=np.float64))
            right += float(hits.numpy().sum(dtype=np.float64))
        return Measured(loss / rows.num_rows, right / rows.num_rows if self.has_accuracy else None)


def _tensors(batch: Batch) -> tuple[TFTensor, TFTensor]:
    """Inputs and targets; pictures with their channels last."""
    inputs, targets = (_channels_last(tensor) for tensor in batch)
    return inputs, targets


def _channels_last(tensor: Tensor) -> TFTensor:
    turned = tensor.movedim(1, -1) if tensor.ndim == 4 else tensor
    return tensorflow().convert_to_tensor(turned.contiguous().numpy())


def _reduced(losses: TFTensor, reduction: Reduction) -> TFTensor:
    tf = tensorflow()
    return losses if reduction == "none" else tf.reduce_sum(losses) if reduction == "sum" else tf.reduce_mean(losses)
