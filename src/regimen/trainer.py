"""The one training loop, in one file: it is given functions and tensors, never the strategy, and reads top to bottom.

What makes a resume exact: everything random in step k is seeded from (run seed, k), and the order of the data is a
function of (seed, epoch). So a checkpoint holds weights, optimizer and counters, nothing of any global generator, and
evaluating more often changes nothing.
"""

from __future__ import annotations

import inspect
import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from regimen.best import BestSoFar
from regimen.errors import Diverged, OutOfMemory, Problem, Refused, Stopped
from regimen.handle import Run
from regimen.loading import Batches, on_device
from regimen.processes import Processes
from regimen.seeding import seed_globals
from regimen.spec import CheckpointSettings, EvaluateSettings, LogSettings, Progress
from regimen.strategy import Loss

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Stateful(Protocol):
    """A part of a run that a checkpoint must hold: a strategy, a sampler."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class RateSchedule(Protocol):
    """How the learning rate moves: `optim.Schedule`, or a family's own."""

    def factor(self, step: int, before: float, after: float, epochs: float) -> float:
        """Of the base rate, for the step that takes the spent part of the budget from `before` to `after`; `epochs`
        are those before it.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the loop steps, evaluates, records and saves: the part of the settings that every family has."""

    schedule: RateSchedule | None = None
    """None: the optimizer's own rate throughout."""
    accumulate: int = 1
    """Micro-batches a step."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; None: not clipped."""
    precision: str = "fp32"
    """fp32, bf16 or fp16; weights stay as they are."""
    evaluate: EvaluateSettings = EvaluateSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    log: LogSettings = LogSettings()


@dataclass
class Cursor(BestSoFar):
    """Where the loop is. A checkpoint holds it as it is."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    """Micro-batches taken of this epoch."""
    passes: int = 0
    tokens: int = 0
    window: dict[str, list[float]] = field(default_factory=dict)
    """Sum and count of each metric since the last recorded line."""
    recorded: int = 0
    evaluated: int = -1
    """Step of the last evaluation."""


class Trainer:
    """Trains `model` on `batches` until the run's budget is spent.

    `loss(model, batch)` returns a `Loss`: a sum and its count, so that a step of several micro-batches and processes
    divides by the count of all of them; or an iterator of losses of one batch, each taken backward before the next is
    computed (paths of a supernet). A count of 0 adds a gradient without taking part in the mean. `evaluate()` returns
    `valid/...` numbers; it is called in evaluation mode without gradients. `one_by_one(batch)` splits a batch into
    (name of the row, batch of that row), to name the row that is not finite.

    `train()` returns the last numbers, or those of the best checkpoint where one was asked for. Raises `Diverged`
    before the step that a loss or gradient that is not finite would have made, `Stopped` after saving when asked to
    stop, `OutOfMemory`.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches[Any],
        loss: Callable[[nn.Module, Any], Loss | Iterator[Loss]],
        optimizer: torch.optim.Optimizer,
        run: Run,
        plan: Plan,
        *,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
        one_by_one: Callable[[Any], Iterable[tuple[str, Any]]] | None = None,
        state: Mapping[str, Stateful] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.model, self.batches, self.loss = model, batches, loss
        self.optimizer, self.run, self.plan = optimizer, run, plan
        self.evaluate, self.one_by_one, self.state = evaluate, one_by_one, dict(state or {})
        self.processes = processes or Processes.join("cpu")
        self.device = self.processes.device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.precision == "fp16")
        self.trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.rates = [group.get("lr") for group in optimizer.param_groups]
        self.evaluates_again = _needs_closure(optimizer)
        self.at = Cursor()
        self._saved_step, self._seconds, self._num_batches = -1, 0.0, len(batches)
        self._scale: tuple[float, torch.Tensor] | None = None
        self._begins = Progress()
        """Where the step that is being made began."""

    def train(self) -> dict[str, float]:
        at, run, plan = self.at, self.run, self.plan
        parameters = list(self.trained.values())
        self.processes.share(parameters)
        restored = run.restore()
        if restored:
            self._load(restored.state)
        else:
            self._evaluate()
        self.model.train()
        self._optimizer_mode("train")
        clock, tokens_then = time.perf_counter(), at.tokens
        stream, cast = self._micro_batches(), self._autocast()
        while not self._should_stop():
            # Everything random in this step follows from its number.
            self._seed("step", at.step)
            before = self._begins

            # Forward and backward over the step's micro-batches. Gradients are scaled by the first count, for the
            # range of half precision only; the division below makes them those of the mean over the whole step.
            seen: list[Any] = []
            losses: list[torch.Tensor] = []
            found: list[tuple[str, Any, Any]] = []  # metrics: name, sum, count
            count = tokens = passes = 0.0
            scale, epoch_ends = 1.0, False
            try:
                while len(seen) < plan.accumulate and not epoch_ends:
                    batch, epoch_ends = next(stream)
                    seen.append(batch)
                    if batch is None:
                        continue
                    batch = on_device(batch, self.device)
                    tokens += getattr(batch, "num_tokens", 0)
                    for loss in self._losses(batch, cast):
                        terms = float(loss.count)
                        if passes == 0:
                            scale = 1.0 / max(terms, 1e-12)
                        self._backward(loss.sum, scale)
                        count, passes = count + terms, passes + 1
                        losses.append(loss.sum.detach())
                        found += [(name, *pair) for name, pair in loss.metrics.items()]
            except torch.OutOfMemoryError as error:
                raise self._out_of_memory(error) from error

            # The gradient of the mean over all that this step saw, on every process.
            mean_of_one = self.processes.world == 1 and passes == 1
            count, tokens, passes = self.processes.totals([count, tokens, passes])
            gradients = self._gradients(parameters)
            if not mean_of_one:
                torch._foreach_div_(gradients, scale * count)
                self.processes.add(gradients)
            self.scaler.unscale_(self.optimizer)  # after adding up, so that all see what overflowed on one
            norm = _norm(gradients)

            # Nothing that is not finite reaches the weights. Here, once a step, the device is waited for.
            (loss_sum, grad_norm), metrics = self._read(losses, norm, found)
            mean = loss_sum / count if count else math.nan
            overflow = self.scaler.is_enabled() and math.isfinite(mean) and self.scaler.get_scale() > 1.0
            if not (math.isfinite(mean) and (math.isfinite(grad_norm) or overflow)):
                raise Diverged(self._what_diverged(mean, grad_norm, seen), at.step + 1)

            # The step.
            if plan.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(parameters, plan.clip_norm, norm)
            at.passes, at.tokens = at.passes + int(passes), at.tokens + int(tokens)
            rate = self._rate(before)
            if self.evaluates_again:
                self.optimizer.step(self._closure(seen, count))  # type: ignore[arg-type]  # PyTorch's own return tensors
            else:
                self.scaler.step(self.optimizer)
                self.scaler.update()
            for parameter in parameters:
                parameter.grad = None
            at.step += 1

            # What happened.
            self._gather(metrics)
            self._gather([("train/loss", loss_sum, count), ("train/grad_norm", grad_norm, 1.0)], everywhere=True)
            self._tick()
            if at.step % plan.log.every == 0 or self._spent():
                now = time.perf_counter()
                self._record({"train/lr": rate, "time/tokens_per_s": (at.tokens - tokens_then) / (now - clock)})
                clock, tokens_then = now, at.tokens
            pause = time.perf_counter()
            if self._evaluation_due(epoch_ends):
                self._evaluate()
            if at.step % plan.checkpoint.every == 0:
                self._save()
            clock += time.perf_counter() - pause  # speed is that of training

        if self._spent() and at.recorded != at.step:  # a budget of seconds may end between two looks at the clock
            self._record({})
        if not self._finished():
            self._save()
            raise Stopped(Problem("", f"stopped at step {at.step}: {run.stop_reason}."))
        if at.evaluated != at.step:
            self._evaluate()
        self._save()
        result = self._result()
        self._optimizer_mode("eval")
        return result

    # ------------------------------------------------------------------ how far

    def _progress(self, steps_ahead: int = 0) -> Progress:
        at = self.at
        return Progress(
            at.step + steps_ahead, at.epoch + at.batch / self._num_batches, at.passes, at.tokens, self._seconds
        )

    def _fraction(self) -> float:
        return self.run.budget.fraction(self._progress())

    def _spent(self) -> bool:
        return self.run.budget.exhausted(self._progress())

    def _finished(self) -> bool:
        return self._spent() or self.at.is_patience_spent(self.plan.checkpoint)

    def _should_stop(self) -> bool:
        """Alike on all processes, and where any of them was asked to stop."""
        self._tick()
        self._begins = self._progress()
        steps, epochs, passes, tokens, _ = self._begins
        self.run.should_stop(steps, epochs=epochs, passes=passes, tokens=tokens)
        asked = self.run.stop_reason is not None
        if self.processes.world > 1:
            _, (asked,) = self.processes.agreed_flags((), [asked])
            if asked:
                self.run.request_stop("another process was asked to")
        return asked or self._finished()

    def _tick(self) -> None:
        """Reads the clock. Where the budget is in seconds, schedules and the end need one time on all processes."""
        self._seconds = self.run.elapsed_s
        if self.run.budget.seconds is not None:
            (self._seconds,), _ = self.processes.agreed_flags([self._seconds])

    def _micro_batches(self) -> Iterator[tuple[Any, bool]]:
        """The batches from the cursor on, each with whether it ends its epoch; moves the cursor."""
        at, num_batches = self.at, self._num_batches
        while True:
            for batch in self.batches.epoch(at.epoch, at.batch):
                last = at.batch + 1 == num_batches
                at.epoch, at.batch = (at.epoch + 1, 0) if last else (at.epoch, at.batch + 1)
                yield batch, last

    # ------------------------------------------------------------------ one step's parts

    def _seed(self, *purpose: str | int) -> None:
        seed_globals(self.run.seed_for(*purpose, self.processes.rank), self.device)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = DTYPES.get(self.plan.precision)
        return torch.autocast(self.device.type, dtype) if dtype else nullcontext()

    def _losses(self, batch: Any, cast: AbstractContextManager[Any]) -> Iterator[Loss]:
        """The losses of a micro-batch, each to be taken backward before the next is computed; nearly always one."""
        with cast:
            made = self.loss(self.model, batch)
        if isinstance(made, Loss):
            yield made
            return
        while True:
            with cast:
                loss = next(made, None)
            if loss is None:
                return
            yield loss

    def _backward(self, total: torch.Tensor, scale: float) -> None:
        """Adds the gradients of `scale * total`; without a product in the graph, where half precision needs none."""
        if self.scaler.is_enabled():
            self.scaler.scale(total * scale).backward()
            return
        if self._scale is None or self._scale[0] != scale or self._scale[1].dtype != total.dtype:
            self._scale = scale, torch.full_like(total.detach(), scale)
        total.backward(self._scale[1])

    def _gradients(self, parameters: list[nn.Parameter]) -> list[torch.Tensor]:
        if self.processes.world > 1:  # each process must send the same tensors, also one that had no share of the batch
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def _read(
        self, losses: list[torch.Tensor], norm: torch.Tensor, found: list[tuple[str, Any, Any]]
    ) -> tuple[list[float], list[tuple[str, float, float]]]:
        """The sum of the losses over all processes with the gradient's norm, and this one's metrics: read at once."""
        if self.device.type == "cpu" and self.processes.world == 1:  # nothing to wait for
            pairs = [(name, float(part), float(parts)) for name, part, parts in found]
            return [sum(float(loss) for loss in losses), float(norm)], pairs
        wide = torch.float32 if self.device.type == "mps" else torch.float64
        total = torch.zeros((), dtype=wide, device=self.device)
        for loss in losses:
            total = total + loss.to(self.device, wide).reshape(())
        self.processes.add([total])
        waiting = [total, norm, *(number for _, *pair in found for number in pair if isinstance(number, torch.Tensor))]
        numbers = torch.stack([number.detach().to(self.device, wide).reshape(()) for number in waiting]).tolist()
        rest = iter(numbers[2:])

        def value(number: torch.Tensor | float) -> float:
            return next(rest) if isinstance(number, torch.Tensor) else float(number)

        return numbers[:2], [(name, value(part), value(parts)) for name, part, parts in found]

    def _rate(self, before: Progress) -> float:
        """Sets and returns the learning rate of this step."""
        first = self.optimizer.param_groups[0]
        if self.plan.schedule is not None:
            budget = self.run.budget
            after = budget.fraction(self._progress(steps_ahead=1))
            factor = self.plan.schedule.factor(self.at.step, budget.fraction(before), after, before.epochs)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                if rate is not None:
                    group["lr"] = rate * factor
        return float(first.get("lr", math.nan))

    def _closure(self, batches: list[Any], count: float) -> Callable[[], torch.Tensor]:
        """The step's mean loss with its gradients, again, at the weights that the optimizer is trying: L-BFGS and line
        searches call it as often as they like, and see one function, dropout masks included.
        """

        def closure() -> torch.Tensor:
            self._seed("step", self.at.step)
            self.optimizer.zero_grad(set_to_none=True)
            total = torch.zeros((), device=self.device)
            for batch in batches:
                for loss in self._losses(on_device(batch, self.device), nullcontext()):
                    (loss.sum / count).backward()
                    total += loss.sum.detach() / count
                    self.at.passes += 1
            return total

        return closure

    def _what_diverged(self, mean: float, grad_norm: float, batches: list[Any]) -> Problem:
        what = (
            f"the loss is {mean}"
            if not math.isfinite(mean)
            else f"the norm of the gradient is {grad_norm} (the loss is {mean:.6g})"
        )
        names: list[str] = []
        for batch in batches:
            for name, single in self.one_by_one(batch) if self.one_by_one and batch is not None else ():
                with torch.no_grad():
                    losses = [
                        float(loss.sum) for loss in self._losses(on_device(single, self.device), self._autocast())
                    ]
                if math.isfinite(mean) or not all(map(math.isfinite, losses)):
                    names.append(name)
        names = [name for part in self.processes.gathered(names) for name in part]
        where = (
            f" on {', '.join(names[:8])}" + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else ""
        )
        look = "Look at the row, lower" if names else "Lower"
        fix = f"The step was not made. {look} the learning rate, or clip the gradient."
        return Problem(f"step {self.at.step + 1}", f"{what}{where}.", fix)

    def _out_of_memory(self, error: torch.OutOfMemoryError) -> OutOfMemory:
        fix = "Lower batch_size and raise accumulate by the same factor, shorten rows, or set gradient_checkpointing."
        first = str(error).partition("\n")[0].rstrip(".")
        return OutOfMemory(Problem(f"step {self.at.step + 1}", f"the device is out of memory: {first}.", fix))

    # ------------------------------------------------------------------ what happened

    def _gather(self, metrics: Iterable[tuple[str, float, float]], *, everywhere: bool = False) -> None:
        """Adds to the window. `everywhere`: the numbers are the sum over all processes already."""
        if everywhere and not self.processes.first:
            return
        for key, total, count in metrics:
            entry = self.at.window.setdefault(key if key.startswith("train/") else f"train/{key}", [0.0, 0.0])
            entry[0], entry[1] = entry[0] + total, entry[1] + count

    def _record(self, more: Mapping[str, float]) -> None:
        window = self.processes.merged(self.at.window)
        means = {key: total / count if count else math.nan for key, (total, count) in window.items()}
        self.at.window, self.at.recorded = {}, self.at.step
        timing = {
            "time/elapsed_s": self.run.elapsed_s,
            "time/fraction": self._fraction(),
            "time/peak_memory_mb": peak_memory_mb(self.device),
        }
        if self.at.tokens:
            timing["time/tokens"] = float(self.at.tokens)
        self._log({**means, **more, "train/epoch": self._progress().epochs, **timing})

    def _log(self, values: Mapping[str, float]) -> None:
        if self.processes.first:
            self.run.log(self.at.step, values)
        self.at.latest |= {key: value for key, value in values.items() if not key.startswith("time/")}

    def _evaluation_due(self, epoch_ends: bool) -> bool:
        every = self.plan.evaluate.every
        return epoch_ends if every is None else self.at.step % every == 0

    def _evaluate(self) -> None:
        """Measures, records, and keeps what is best so far."""
        at, settings = self.at, self.plan.checkpoint
        if self.evaluate is None:
            if settings.best is not None:
                fix = "Give the task rows to evaluate on, or remove checkpoint.best."
                raise Refused(Problem("checkpoint.best", f"is {settings.best!r}, and nothing is evaluated.", fix))
            return
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        self._optimizer_mode("eval")
        self._seed("evaluate", at.step)
        with torch.no_grad(), self._autocast():
            values = dict(self.evaluate())
        self._optimizer_mode("train")
        for module, mode in modes:
            module.training = mode
        self._log({**values, "train/epoch": self._progress().epochs})
        at.evaluated = at.step
        if at.improved(at.step, settings):
            self._save(best=True)

    def _optimizer_mode(self, mode: str) -> None:
        """Schedule-free optimizers keep other weights for evaluation than for training (arXiv:2405.15682)."""
        getattr(self.optimizer, mode, lambda: None)()

    # ------------------------------------------------------------------ keeping and taking back

    def _save(self, *, best: bool = False) -> None:
        if self._saved_step == self.at.step and not best:
            return
        self._saved_step = self.at.step
        self.at.window = self.processes.merged(self.at.window)
        if self.processes.first:
            self.run.checkpoint(self.at.step, self._state(), best=best)
        self.processes.wait()

    def _state(self) -> dict[str, Any]:
        return {
            "weights": self._weights(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "cursor": asdict(self.at),
            "parts": {name: part.state_dict() for name, part in self.state.items()},
        }

    def _weights(self) -> dict[str, torch.Tensor]:
        """What training changes: the trained parameters, and buffers such as batch-norm statistics."""
        kept = self.model.state_dict().keys()
        return {**self.trained, **{name: buffer for name, buffer in self.model.named_buffers() if name in kept}}

    def _load(self, state: Mapping[str, Any]) -> None:
        self._load_weights(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        for name, value in state["cursor"].items():
            setattr(self.at, name, value)
        for name, part in self.state.items():
            part.load_state_dict(state["parts"][name])
        self._saved_step = self.at.step
        if not self.processes.first:
            self.at.window = {}

    def _load_weights(self, saved: Mapping[str, torch.Tensor]) -> None:
        weights = self._weights()
        if saved.keys() != weights.keys():
            odd = sorted(saved.keys() ^ weights.keys())
            raise KeyError(f"the checkpoint and the model differ in {len(odd)} tensors, such as {odd[0]}")
        with torch.no_grad():
            for name, tensor in weights.items():
                tensor.copy_(saved[name])

    def _result(self) -> dict[str, float]:
        """The last numbers; with `checkpoint.best`, the best weights and theirs."""
        if self.at.best_step in (-1, self.at.step):
            return dict(self.at.latest)
        best = self.run.best_checkpoint()
        if best is None:
            return dict(self.at.latest)
        self._load_weights(best.state["weights"])
        self.optimizer.load_state_dict(best.state["optimizer"])
        if self.processes.first:
            self.run.note(f"the result is the checkpoint of step {best.step}, the best by {self.plan.checkpoint.best}.")
        return dict(self.at.best_metrics)


def _norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    """Of all gradients as one vector: a scalar. `torch.nn.utils.get_total_norm` sorts them by device first."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))) if gradients else torch.zeros(())


def _needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether `step(closure)` must be given a closure."""
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


def peak_memory_mb(device: torch.device) -> float:
    """The most memory held so far, in MB: on the device for a GPU, of the process otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
