"""The live test problem that a runner trains: a net, data and a loss, under the names of DeepOBS.

    problem.train_init_op()                       a new epoch; StopIteration ends it
    loss, accuracy = problem.get_batch_loss_and_accuracy()
    problem.valid_init_op()                       the same call now reads the validation rows, without gradients

Batches of epoch e are a function of (seed, e), and what is random in a training step of its number. Evaluating draws
from generators of its own, so that looking more often changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from regimen.benchmark.examples import Examples, Splits
from regimen.benchmark.problem import Batch, Problem
from regimen.errors import Diverged, Refused, Stopped, StrategyFailed
from regimen.errors import Problem as Wrong
from regimen.handle import Run
from regimen.loading import on_device
from regimen.randomness import derived_generator
from regimen.seeding import seed_globals
from regimen.strategy import Loss

Phase = Literal["train", "train_eval", "valid", "test"]
Reduction = Literal["mean", "sum", "none"]
_EVALUATED_AT_ONCE = 2**20
"""Numbers of input that one evaluation batch holds at least; results do not depend on it."""


class Measured(NamedTuple):
    """A split's means over all of its rows, each row weighing the same."""

    loss: float
    """Without the penalty."""
    accuracy: float | None
    """In [0, 1]; None for a problem without accuracy."""


class ResidentBatches:
    """Training batches picked from rows in memory; every epoch has another order. See `loading.Batches`."""

    def __init__(self, problem: Problem, rows: Examples, run: Run, device: torch.device) -> None:
        if problem.batch_size > rows.num_rows:
            text = f"is {problem.batch_size}, and there are {rows.num_rows} rows to train on."
            raise Refused(Wrong("task.batch_size", text, "Set a smaller one."))
        self.problem, self.rows, self.device = problem, rows, device
        self.seed, self.item_seed = run.seed_for("order"), run.seed_for("items")
        self.augments = type(problem).augment is not Problem.augment

    def __len__(self) -> int:
        return self.rows.num_rows // self.problem.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        generator = derived_generator(self.seed, epoch if self.problem.reshuffle else 0)
        order = torch.from_numpy(generator.permutation(self.rows.num_rows)).to(self.device)
        chosen_by_batch = order.split(self.problem.batch_size)
        for position in range(start, len(self)):
            chosen = chosen_by_batch[position]
            picked, targets = _picked(self.rows, chosen, self.device)
            inputs = self.problem.transform(picked)
            if self.augments:
                inputs = self.problem.augment(inputs, derived_generator(self.item_seed, epoch, position))
            yield Batch(inputs, targets)


def _picked(rows: Examples, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Inputs and targets of some rows, on the device. `index_select` is quicker than brackets on small batches."""
    inputs, targets = rows.inputs, rows.targets
    found = inputs.index_select(0, chosen) if isinstance(inputs, Tensor) else on_device(inputs[chosen], device)
    if targets is inputs:
        return found, found
    return found, targets.index_select(0, chosen) if isinstance(targets, Tensor) else on_device(targets[chosen], device)


class TestProblem:
    """`net`, `data` and `loss_function` of one run. `set_up` makes them; `phase` says which rows are read."""

    __test__ = False  # no test of pytest's

    net: nn.Module
    data: Splits
    batches: ResidentBatches

    def __init__(self, problem: Problem, run: Run, device: torch.device | None = None) -> None:
        self.problem, self.run = problem, run
        self.device = self._device = device or torch.device("cpu")
        self.phase: Phase = "train"
        self.batch_size, self.weight_decay = problem.batch_size, problem.weight_decay
        self.num_epochs_begun = self.num_steps = 0
        """Training epochs begun, and training batches drawn."""
        self._iterator: Iterator[Batch] = iter(())

    def set_up(self) -> None:
        """Reads the data and makes the net with the run's own initial weights. Raises `DataError`."""
        splits = self.problem.read()
        names = ("train", "train_eval", "valid", "test")
        self.data = Splits(*(_resident(getattr(splits, name), self.device) for name in names))
        seed_globals(self.run.seed_for("initial weights"), self.device)
        self.net = self.problem.make_net().to(self.device)
        made = sum(parameter.numel() for parameter in self.net.parameters())
        if made != self.problem.num_parameters:
            text = f"its net has {made:,} parameters, and num_parameters says {self.problem.num_parameters:,}."
            raise StrategyFailed(Wrong(f"task {self.problem.name}", text, "Correct one of the two."))
        self.batches = ResidentBatches(self.problem, self.data.train, self.run, self.device)
        self.regularization_groups = self.get_regularization_groups()

    @cached_property
    def has_accuracy(self) -> bool:
        """Whether the problem says how right a row is."""
        with self._looking("valid"):
            batch = next(self._evaluated(self.data.valid, 2))
            return self.problem.hits(self.problem.forward(self.net, batch), batch) is not None

    # ------------------------------------------------------------------ which rows

    def train_init_op(self) -> None:
        """Begins the next training epoch."""
        self._begin("train", self.batches.epoch(self.num_epochs_begun))
        self.num_epochs_begun += 1

    def train_eval_init_op(self) -> None:
        """The next batches are those rows of the training split that are evaluated."""
        self._begin("train_eval", self._evaluated(self.data.train_eval, self.batch_size))

    def valid_init_op(self) -> None:
        """The next batches are those of the validation split."""
        self._begin("valid", self._evaluated(self.data.valid, self.batch_size))

    def test_init_op(self) -> None:
        """The next batches are those of the test split."""
        self._begin("test", self._evaluated(self.data.test, self.batch_size))

    def _begin(self, phase: Phase, batches: Iterator[Batch]) -> None:
        self.phase, self._iterator = phase, batches
        self.net.train(phase == "train")

    def _evaluated(self, rows: Examples, size: int) -> Iterator[Batch]:
        for start in range(0, rows.num_rows, size):
            chosen = torch.arange(start, min(start + size, rows.num_rows), device=self.device)
            inputs, targets = _picked(rows, chosen, self.device)
            yield Batch(self.problem.transform(inputs), targets)

    def _get_next_batch(self) -> Batch:
        """Raises `StopIteration` at the end of the split, and `Stopped` where the run was asked to stop."""
        batch = next(self._iterator)
        if self.phase == "train":
            if self.run.stop_reason:
                fix = "`regimen resume` runs it again from the start, to the same numbers."
                raise Stopped(Wrong("", f"stopped at step {self.num_steps}: {self.run.stop_reason}.", fix))
            self.seed_step(self.num_steps)
            self.num_steps += 1
        return batch

    def seed_step(self, step: int) -> None:
        """What is random in training step `step` (from 0) follows from its number."""
        seed_globals(self.run.seed_for("step", step, 0), self.device)

    # ------------------------------------------------------------------ losses

    def loss_function(self, reduction: Reduction = "mean") -> Callable[[Any, Any], Tensor]:
        """The problem's loss as a function of (outputs, targets), for a net that is called by hand."""
        return lambda outputs, targets: _reduced(self.problem.losses(outputs, Batch(targets, targets)), reduction)

    def get_batch_loss_and_accuracy(
        self,
        return_forward_func: bool = False,
        reduction: Reduction = "mean",
        add_regularization_if_available: bool = True,
    ) -> Any:
        """(loss, accuracy) of the next batch; with `return_forward_func`, ((loss, accuracy), forward_func).

        `forward_func(same_randomness=False)` evaluates the same batch again, after an update for instance, with another
        dropout mask or with the same one. Accuracy is 0.0 for a problem that has none. Raises `StopIteration` at the
        end of an epoch, and `Diverged` for a first training loss that is not finite.
        """
        forward = self.get_batch_loss_and_accuracy_func(reduction, add_regularization_if_available)
        first = forward(True)
        if self.phase == "train" and not bool(torch.isfinite(first[0]).all()):
            fix = "The step was not made. Lower the learning rate."
            raise Diverged(
                Wrong(f"step {self.num_steps}", f"the loss is {float(first[0].sum())}.", fix), self.num_steps
            )
        return (first, forward) if return_forward_func else first

    def get_batch_loss_and_accuracy_func(
        self, reduction: Reduction = "mean", add_regularization_if_available: bool = True
    ) -> Callable[..., tuple[Tensor, float]]:
        """Draws the next batch and returns its `forward_func`."""
        batch = self._get_next_batch()
        training = self.phase == "train"
        randomness = torch.random.get_rng_state()

        def forward_func(same_randomness: bool = False) -> tuple[Tensor, float]:
            if same_randomness:
                torch.random.set_rng_state(randomness)
            with nullcontext() if training else torch.no_grad():
                outputs = self.problem.forward(self.net, batch)
                loss = _reduced(self.problem.losses(outputs, batch), reduction)
                if add_regularization_if_available and self.weight_decay:
                    loss = loss + self.get_regularization_loss()
                hits = self.problem.hits(outputs, batch)
            return loss, 0.0 if hits is None else float(hits.mean())

        return forward_func

    def training_loss(self, net: nn.Module, batch: Batch) -> Loss:
        """What the trainer minimises: the mean over rows plus the penalty."""
        losses = self.problem.losses(self.problem.forward(net, batch), batch)
        total = losses.sum()
        if self.weight_decay:
            total = total + self.get_regularization_loss() * len(losses)
        return Loss(total, len(losses))

    def get_regularization_groups(self) -> dict[float, list[nn.Parameter]]:
        """{factor: parameters}: those that the penalty includes, and under 0.0 the others."""
        groups: dict[float, list[nn.Parameter]] = {self.weight_decay: [], 0.0: []}
        for name, parameter in self.net.named_parameters():
            groups[self.weight_decay if self.problem.is_regularized(name, parameter) else 0.0].append(parameter)
        return groups

    def get_regularization_loss(self) -> Tensor:
        """Half the sum of factor times squared norm; differentiable."""
        total = torch.zeros((), device=self.device)
        for factor, parameters in self.regularization_groups.items():
            if factor:
                total = total + 0.5 * factor * torch.stack([p.square().sum() for p in parameters]).sum()
        return total

    # ------------------------------------------------------------------ evaluation

    def measure(self, phase: Phase) -> Measured:
        """The means over all rows of a split, with the net in evaluation mode. Leaves no trace in training."""
        rows: Examples = getattr(self.data, phase)
        width = int(np.prod(rows.inputs[torch.zeros(1, dtype=torch.long, device=self.device)].shape))
        size = max(self.batch_size, min(1000, _EVALUATED_AT_ONCE // width))
        loss, hits = 0.0, 0.0
        with self._looking(phase):
            for batch in self._evaluated(rows, size):
                outputs = self.problem.forward(self.net, batch)
                loss += float(self.problem.losses(outputs, batch).sum(dtype=torch.float64))
                found = self.problem.hits(outputs, batch)
                hits += 0.0 if found is None else float(found.sum())
        return Measured(loss / rows.num_rows, hits / rows.num_rows if self.has_accuracy else None)

    def values(self) -> dict[str, float]:
        """All three splits as the record keeps them."""
        found: dict[str, float] = {}
        for phase in ("train_eval", "valid", "test"):
            found |= self.values_of(phase)
        return found | self.penalty()

    def values_of(self, phase: Phase) -> dict[str, float]:
        """`<split>/loss` and, where there is one, `<split>/accuracy`."""
        measured = self.measure(phase)
        accuracy = {} if measured.accuracy is None else {f"{phase}/accuracy": measured.accuracy}
        return {f"{phase}/loss": measured.loss, **accuracy}

    def penalty(self) -> dict[str, float]:
        """The penalty now, for a problem that has one."""
        if not self.weight_decay:
            return {}
        with torch.no_grad():
            return {"penalty": float(self.get_regularization_loss())}

    @contextmanager
    def _looking(self, phase: Phase) -> Iterator[None]:
        """Evaluation mode, no gradients, and generators of its own."""
        modes = [(module, module.training) for module in self.net.modules()]
        self.net.eval()
        with torch.random.fork_rng(), torch.no_grad():
            torch.default_generator.manual_seed(self.run.seed_for("evaluate", phase))
            yield
        for module, mode in modes:
            module.training = mode


def _resident(rows: Examples, device: torch.device) -> Examples:
    inputs = on_device(rows.inputs, device)
    return Examples(inputs, inputs if rows.targets is rows.inputs else on_device(rows.targets, device))


def _reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()
