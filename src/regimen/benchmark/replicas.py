"""Several runs of one test problem at once: their forward and backward passes are one vmapped call.

    for place, outcome in train_together([Replica(runner, testproblem), ...]):     # as each of them ends

Everything else each replica does by itself, with the code of the one trainer: its order of rows, its optimizer, its
evaluations, its record, its end. Weights lie in one tensor for all, of which each net's own parameters are views; so
any optimizer that changes parameters in place will do. Results are those of one-by-one training up to rounding, which
`calibration` checks beforehand. After Parallelizing Training of Neural Nets (W. Whitney, 2021) and HFTA (Wang et al.,
arXiv:2102.02344), which fuse the optimizers as well and so allow only those that they have written again.

Axes: N replicas, B rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from regimen.benchmark.epochs import EpochSchedule, History
from regimen.benchmark.probe import probed
from regimen.benchmark.problem import Batch
from regimen.benchmark.runner import Runner
from regimen.benchmark.testproblem import ResidentBatches, TestProblem
from regimen.errors import Diverged, Problem, Stopped
from regimen.trainer import Plan, Trainer

Weights = dict[str, Tensor]


class Ended(NamedTuple):
    """How one replica ended."""

    place: int
    """Among those that were given."""
    outcome: dict[str, float] | Exception
    """The last numbers, or what it raised."""


class Step(NamedTuple):
    """One replica's part of a step; the gradients are on its net."""

    total: float
    """Sum of the losses over the rows of the batch, penalty included."""
    rows: int
    grad_norm: float


def train_together(replicas: Sequence[Replica]) -> Iterator[Ended]:
    """Trains them all, step by step, and yields each as it ends. One that diverges or fails leaves the others alone."""
    alive = dict(enumerate(replicas))
    share_batches(replicas)

    def done(place: int, act: Callable[[], dict[str, float] | None]) -> Iterator[Ended]:
        outcome: dict[str, float] | Exception | None
        try:
            outcome = act()
        except Exception as error:  # noqa: BLE001 - its own end, recorded by who reads it
            outcome = error
        if outcome is not None:
            del alive[place]
            yield Ended(place, outcome)

    for place, replica in list(alive.items()):
        yield from done(place, replica.begin)
    if not alive:
        return
    rows = list(alive)
    """Which replica each row of the stack is."""
    stack = Stack([alive[place].testproblem for place in rows])
    while alive:
        if 2 * len(alive) <= len(rows):
            stack.keep([row for row, place in enumerate(rows) if place in alive])
            rows = list(alive)
        drawn = {place: replica.draw() for place, replica in alive.items()}
        spare = next(iter(drawn.values()))  # a row that has ended computes something that nobody reads
        steps = stack.backward([drawn.get(place, spare) for place in rows])
        for row, place in enumerate(rows):
            if place in alive:
                yield from done(place, lambda: alive[place].step(steps[row]))  # noqa: B023 - called at once


class Replica(Trainer):
    """A run of a built-in runner that can be trained by itself (`train`) or with others (`train_together`)."""

    def __init__(self, runner: Runner, testproblem: TestProblem, *, evaluates: bool = True) -> None:
        run, settings, self.history = testproblem.run, testproblem.run.settings, History()
        hyperparams = runner.optimizer.hyperparameters_over(testproblem.net.parameters())
        params = runner.training_params
        begins, factors = params.get("lr_sched_epochs", []), params.get("lr_sched_factors", [])
        super().__init__(
            testproblem.net,
            testproblem.batches,
            testproblem.training_loss,
            runner.make_optimizer(testproblem, hyperparams),
            run,
            Plan(
                schedule=EpochSchedule(begins, factors) if begins else None,
                evaluate=settings.evaluate,
                checkpoint=settings.checkpoint,
                log=settings.log,
            ),
            evaluate=self._measured if evaluates else None,
            state={"history": self.history},
        )
        self.testproblem = testproblem
        run.listen(self.history.hear)

    def _measured(self) -> Mapping[str, float]:
        values = self.testproblem.values()
        self.history.add(values)
        return values

    def begin(self) -> dict[str, float] | None:
        """What comes before the first step. Returns the last numbers where there is none to make."""
        self._evaluate()
        self.model.train()
        self._optimizer_mode("train")
        self._stream = self._micro_batches()
        return self._end()

    def draw(self) -> Batch:
        """The rows of the next step."""
        batch, self._epoch_ends = next(self._stream)
        assert isinstance(batch, Batch)
        return batch

    def step(self, step: Step) -> dict[str, float] | None:
        """Makes the step whose gradients are on the net, as `Trainer.train` does; returns the last numbers if it was
        the last. Raises `Diverged` before a step that is not finite, and `Stopped` after saving when asked to stop.
        """
        at, plan, mean = self.at, self.plan, step.total / step.rows
        if not (math.isfinite(mean) and math.isfinite(step.grad_norm)):
            raise Diverged(self._what_diverged(mean, step.grad_norm, []), at.step + 1)
        at.passes += 1
        rate = self._rate(self._begins)
        self.optimizer.step()
        for parameter in self.trained.values():
            parameter.grad = None
        at.step += 1

        self._gather([("train/loss", step.total, step.rows), ("train/grad_norm", step.grad_norm, 1.0)])
        self._tick()
        if at.step % plan.log.every == 0 or self._spent():
            self._record({"train/lr": rate, "time/tokens_per_s": 0.0})
        if self._evaluation_due(self._epoch_ends):
            self._evaluate()
        if at.step % plan.checkpoint.every == 0:
            self._save()
        return self._end()

    def _end(self) -> dict[str, float] | None:
        if not self._should_stop():
            return None
        if not self._finished():
            self._save()
            raise Stopped(Problem("", f"stopped at step {self.at.step}: {self.run.stop_reason}."))
        if self.at.evaluated != self.at.step:
            self._evaluate()
        self._save()
        result = self._result()
        self._optimizer_mode("eval")
        return result


class Stack:
    """The weights of several nets, (N, ...) each. The nets stay ordinary ones: their tensors become views of it."""

    def __init__(self, testproblems: Sequence[TestProblem]) -> None:
        self.testproblems, first = list(testproblems), testproblems[0]
        self._whole = _Whole(first)
        changed = probed(first).changed_buffers
        self.trained, self.own = Weights(), Weights()
        self.common: Weights = {}
        """Buffers that are alike in all nets and that no step changes: one for all."""
        tensors = [{**dict(t.net.named_parameters()), **dict(t.net.named_buffers())} for t in testproblems]
        for name, tensor in tensors[0].items():
            all_of_it = [each[name] for each in tensors]
            if isinstance(tensor, nn.Parameter) or name in changed or not all(map(tensor.equal, all_of_it)):
                group = self.trained if tensor.requires_grad else self.own
                group[name] = torch.stack([each.detach() for each in all_of_it])
            else:
                self.common[name] = tensor
        self._point()

    def __len__(self) -> int:
        return len(self.testproblems)

    def keep(self, rows: Sequence[int]) -> None:
        """Goes on with these rows alone."""
        self.testproblems = [self.testproblems[row] for row in rows]
        for group in (self.trained, self.own):
            for name, tensor in group.items():
                group[name] = tensor[list(rows)]
        self._point()

    def backward(self, batches: Sequence[Batch]) -> list[Step]:
        """Puts the gradients of each net's training loss on its parameters: of the mean over its batch plus penalty."""
        if all(batch is batches[0] for batch in batches):
            (inputs, targets), axis = batches[0], None
        else:
            same = all(batch.targets is batch.inputs for batch in batches)
            inputs = torch.stack([batch.inputs for batch in batches])
            targets, axis = inputs if same else torch.stack([batch.targets for batch in batches]), 0
        loss = vmap(grad_and_value(self._loss, has_aux=True), in_dims=(0, 0, None, axis, axis))
        gradients, (_, totals_N) = loss(self.trained, self.own, self.common, inputs, targets)
        norms = [torch.linalg.vector_norm(g.reshape(len(self), -1), dim=1) for g in gradients.values()]
        norms_N = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        for parameters, gradient in zip(self._parameters, gradients.values(), strict=True):
            for parameter, part in zip(parameters, gradient.unbind(), strict=True):
                parameter.grad = part
        pairs = torch.stack([totals_N, norms_N], dim=1).tolist()
        rows = len(batches[0].inputs)
        return [Step(total, rows, norm) for total, norm in pairs]

    def _loss(
        self, trained: Weights, own: Weights, common: Weights, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(its mean over rows, its sum) for one net."""
        weights = {f"net.{name}": tensor for name, tensor in {**trained, **own, **common}.items()}
        losses_B = functional_call(self._whole, weights, (inputs, targets))
        total = losses_B.sum()
        for factor, names in self._whole.penalised.items():
            squares = torch.stack([weights[f"net.{name}"].square().sum() for name in names])
            total = total + 0.5 * factor * squares.sum() * len(losses_B)
        return total * (1.0 / len(losses_B)), total

    def _point(self) -> None:
        """Makes the nets' tensors views of the stack."""
        nets = [testproblem.net for testproblem in self.testproblems]
        tensors = [{**dict(net.named_parameters()), **dict(net.named_buffers())} for net in nets]
        for group in (self.trained, self.own):
            for name, stacked in group.items():
                for own, part in zip(tensors, stacked.unbind(), strict=True):
                    own[name].data = part
        self._parameters = [[own[name] for own in tensors] for name in self.trained]


class _Whole(nn.Module):
    """From rows to the losses of rows, as one module, whose tensors can be exchanged."""

    def __init__(self, testproblem: TestProblem) -> None:
        super().__init__()
        self.net, self.problem = testproblem.net, testproblem.problem
        names = {id(parameter): name for name, parameter in self.net.named_parameters()}
        groups = testproblem.regularization_groups.items()
        self.penalised = {factor: [names[id(p)] for p in parameters] for factor, parameters in groups if factor}

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        batch = Batch(inputs, targets)
        return self.problem.losses(self.problem.forward(self.net, batch), batch)


class _Shared:
    """Batches of replicas with one seed, which all see the same rows in the same step: each batch is made once."""

    def __init__(self, batches: ResidentBatches) -> None:
        self.batches = batches
        self._at, self._batch = (-1, -1), Batch(torch.empty(0), torch.empty(0))
        self._source: Iterator[Batch] = iter(())

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for position in range(start, len(self)):
            if self._at != (epoch, position):
                if self._at != (epoch, position - 1):
                    self._source = self.batches.epoch(epoch, position)
                self._at, self._batch = (epoch, position), next(self._source)
            yield self._batch


def share_batches(replicas: Sequence[Replica]) -> None:
    """Replicas of one seed read one source of batches."""
    sources: dict[int, Any] = {}
    for replica in replicas:
        replica.batches = sources.setdefault(replica.run.seed, _Shared(replica.testproblem.batches))
