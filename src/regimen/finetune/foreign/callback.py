"""One call of a transformers trainer's `train` inside a run: a callback, and the few methods that it takes over.

Taken over on the object, for as long as it trains: reading batches (to seed the step), the training step and the
gradient's norm (to look at them before the update), saving and loading (to do both our way), and making the loader (to
know its length).
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainerCallback

from regimen.errors import Problem, Stopped
from regimen.finetune.foreign import saved_state
from regimen.finetune.foreign.arguments import hand_over
from regimen.finetune.foreign.metric_names import is_summary, renamed
from regimen.finetune.foreign.place import at_boundary, horizon, num_tokens, refuse_what_is_not_finite, without_horizon
from regimen.finetune.foreign.seeding import SeededItems, reseed_samplers, seed_everything, seed_items
from regimen.trainer import peak_memory_mb

if TYPE_CHECKING:
    from regimen.finetune.foreign.adapter import Adapter


class _NothingLeftError(Exception):
    """The trainer has taken all its steps before."""


class Training(TrainerCallback):  # type: ignore[misc]
    """The callback through which a run sees a transformers trainer, and the methods it takes over on it."""

    def __init__(self, adapter: Adapter, trainer: Trainer, restored: Mapping[str, Any] | None) -> None:
        self.adapter, self.trainer, self.restored = adapter, trainer, restored
        self.run, self.at, self.processes = adapter.session.run, adapter.at, adapter.session.processes
        self.settings = self.run.settings
        self._own: dict[str, str] = {}
        self._items: SeededItems | None = None
        self._losses: list[Any] = []
        self._norm: Any = math.nan
        self._read = 0
        self._clock = (time.perf_counter(), self.at.tokens)
        self._wanted: set[str] = set()
        self._saved, self._stopping, self._new_best = -1, False, False

    def train(self) -> None:
        """Raises `Stopped` after saving when asked to stop."""
        trainer, at = self.trainer, self.at
        if at.ended:
            saved_state.put_back_weights(trainer, self.restored or {})
            return
        hand_over(trainer, str(self.run.artifacts / "trainer"), self.adapter.note)
        trainer.args.eval_on_start = self._evaluates() and at.evaluated < at.steps
        trainer.add_callback(self)
        taken_over = self._take_over()
        seed_everything(self.run.seed_for("trainer", at.call))
        try:
            self._their_loop()
            if self._stopping:
                raise Stopped(Problem("", f"stopped at step {self.step}: {self.run.stop_reason}."))
            self._end()
        finally:
            for name in taken_over:
                delattr(trainer, name)
            trainer.remove_callback(self)

    def _their_loop(self) -> None:
        with tempfile.TemporaryDirectory(prefix="regimen-") as folder:
            resumed = str(saved_state.write_trainer_state(self.restored, Path(folder))) if self.restored else None
            try:
                self.trainer.train(resume_from_checkpoint=resumed)
            except _NothingLeftError:
                if self.restored:
                    saved_state.put_back_weights(self.trainer, self.restored)
                    self.trainer.state.global_step = self.restored["state"]["global_step"]
                self.adapter.note(
                    f"the budget was spent before trainer {self.at.call + 1} began or went on: it took no step."
                )

    def _end(self) -> None:
        at = self.at
        if self._evaluates() and at.evaluated != self.step:
            self._seed("evaluate", self.step)
            self.trainer.evaluate()
        if self.trainer.optimizer is None:
            return
        if self._new_best:
            self._save()
        saved = self._everything()
        at.steps, at.epochs, at.ended = self.step, self._epochs(), True
        self._write({**saved, "place": asdict(at)}, best=at.best_step == at.steps)

    # ------------------------------------------------------------------ how far

    @property
    def step(self) -> int:
        """The run's: steps of the trainers before this one and its own."""
        return self.at.steps + (0 if self.at.ended else int(self.trainer.state.global_step))

    def _epochs(self) -> float:
        return self.at.epochs + (0 if self.at.ended else self.adapter.share * float(self.trainer.state.epoch or 0.0))

    def _everywhere(self, count: int) -> int:
        """Of all processes together."""
        total = torch.tensor(count, device=self.processes.device)
        self.processes.add([total])
        return int(total)

    def _spent(self) -> bool:
        """Also tells the run how far it is."""
        self.run.should_stop(self.step, epochs=self._epochs(), passes=self.at.passes, tokens=self.at.tokens)
        return self.run.budget.exhausted(self.run.spent)

    def _horizon(self, loader: Any) -> int | None:
        num_batches = len(loader) if hasattr(loader, "__len__") else None
        accumulate = self.trainer.args.gradient_accumulation_steps
        return horizon(self.run.budget, self.at, self.adapter.last_step, num_batches, accumulate)

    def _evaluates(self) -> bool:
        return self.trainer.eval_dataset is not None

    # ------------------------------------------------------------------ what is taken over

    def _take_over(self) -> list[str]:
        trainer = self.trainer
        own: dict[str, Callable[..., Any]] = {
            "get_train_dataloader": self._loader(trainer.get_train_dataloader),
            "get_batch_samples": self._batches(trainer.get_batch_samples),
            "training_step": self._watched(trainer.training_step, self._losses.append),
            "_get_grad_norm": self._watched(trainer._get_grad_norm, self._norm_seen),
            "_save_checkpoint": lambda model, trial: self._save(),
            "_load_from_checkpoint": lambda folder, model=None: saved_state.put_back_weights(
                trainer, self.restored or {}
            ),
            "_load_optimizer_and_scheduler": lambda folder: saved_state.put_back_optimizer(
                trainer, self.restored or {}
            ),
            "_load_scaler": lambda folder: None,
            "_load_rng_state": lambda folder: None,
        }
        for name, function in own.items():
            setattr(trainer, name, function)
        return list(own)

    def _loader(self, theirs: Callable[[], Any]) -> Callable[[], Any]:
        def made() -> Any:
            loader, arguments = theirs(), self.trainer.args
            steps = self._horizon(loader)
            taken = int(self.restored["state"]["global_step"]) if self.restored else 0
            if steps is None:
                self.adapter.note(without_horizon(arguments))
            elif steps <= taken:
                raise _NothingLeftError
            else:
                arguments.max_steps = steps
            self._items = seed_items(loader, self.run.seed_for("items", self.at.call))
            return loader

        return made

    def _batches(self, theirs: Callable[..., Any]) -> Callable[..., Any]:
        def read(*args: Any, **more: Any) -> Any:
            made = theirs(*args, **more)
            self._losses.clear()
            self._read = sum(num_tokens(batch, self.adapter.pad_id) for batch in made[0])
            self._seed("step", self.step)  # everything random in the step follows from its number
            return made

        return read

    @staticmethod
    def _watched(theirs: Callable[..., Any], seen: Callable[[Any], None]) -> Callable[..., Any]:
        def called(*args: Any, **more: Any) -> Any:
            result = theirs(*args, **more)
            seen(result)
            return result

        return called

    def _norm_seen(self, norm: Any) -> None:
        self._norm = norm

    def _seed(self, *purpose: str | int) -> None:
        seed_everything(self.run.seed_for(*purpose, self.processes.rank))

    # ------------------------------------------------------------------ the callback

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._own = saved_state.fingerprints(self.trainer)
        if self.restored:
            saved_state.put_back_own(self.trainer, self.restored)
        self._seed("evaluate", self.step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        epoch = int(state.epoch or 0)
        if self._items is not None:
            self._items.epoch = epoch
        reseed_samplers(train_dataloader, self.run.seed_for("order", self.at.call, epoch))
        seed_everything(self.run.seed_for("epoch", self.at.call, epoch))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Nothing that is not finite reaches the weights."""
        scaler = getattr(self.trainer.accelerator, "scaler", None)
        overflows = scaler is not None and scaler.get_scale() > 1.0  # half precision's own: that step is skipped anyway
        refuse_what_is_not_finite(self.step + 1, sum(map(float, self._losses)), float(self._norm), overflows=overflows)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.at.passes += len(self._losses)
        self.at.tokens += self._everywhere(self._read)
        spent, settings = self._spent(), self.settings
        last = spent or state.global_step >= state.max_steps
        stop = self.processes.first_says(spent or self.run.stop_reason is not None)
        every = settings.evaluate.every
        if self._evaluates() and (float(state.epoch).is_integer() if every is None else self.step % every == 0):
            self._wanted.add("evaluation")
        if self.step % settings.checkpoint.every == 0 or (stop and not last):
            self._wanted.add("checkpoint")
        control.should_log = control.should_log or self.step % settings.log.every == 0 or last
        if not (last or at_boundary(self.trainer)):
            return
        control.should_evaluate = control.should_evaluate or "evaluation" in self._wanted
        control.should_save = not last and (
            control.should_save or "checkpoint" in self._wanted
        )  # the last one is saved after the loop
        control.should_training_stop = control.should_training_stop or stop
        self._stopping = stop and not last
        self._wanted.clear()
        self._seed("evaluate", self.step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or is_summary(logs):
            return
        values = renamed(logs)
        if "valid/loss" in values and self._is_likelihood():
            values["valid/perplexity"] = math.exp(min(values["valid/loss"], 700.0))
        if "train/loss" in values:
            self._spent()
            values["time/elapsed_s"], values["time/fraction"] = (
                self.run.elapsed_s,
                self.run.budget.fraction(self.run.spent),
            )
            values["time/tokens_per_s"] = self._tokens_per_s()
            if self.at.tokens:
                values["time/tokens"] = float(self.at.tokens)
            values["time/peak_memory_mb"] = peak_memory_mb(self.processes.device)
        if self.processes.first:
            self.run.log(self.step, values)
        self.at.latest |= {key: value for key, value in values.items() if not key.startswith("time/")}

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.at.evaluated = self.step
        if self.at.improved(self.step, self.settings.checkpoint):
            self._new_best = control.should_save = True
        if self.at.is_patience_spent(self.settings.checkpoint):
            control.should_training_stop = True

    def _tokens_per_s(self) -> float:
        """Since the last recorded line."""
        before, self._clock = self._clock, (time.perf_counter(), self.at.tokens)
        return (self._clock[1] - before[1]) / (self._clock[0] - before[0])

    def _is_likelihood(self) -> bool:
        return self.adapter.strategy.likelihood and type(self.trainer).compute_loss is Trainer.compute_loss

    # ------------------------------------------------------------------ keeping

    def _everything(self) -> dict[str, Any]:
        kept = saved_state.trainer_state(self.trainer, self._own)
        return {**kept, "place": asdict(self.at), "strategy": self.adapter.strategy.state_dict()}

    def _save(self) -> None:
        if self._saved == self.step and not self._new_best:
            return
        self._saved = self.step
        self._write(self._everything(), best=self._new_best)
        self._new_best = False

    def _write(self, state: dict[str, Any], *, best: bool) -> None:
        if self.processes.first:
            self.run.checkpoint(self.step, state, best=best)
        self.processes.wait()
