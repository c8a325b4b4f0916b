"""Trains transformers' and TRL's trainers inside a run: its budget, record, finite check, stops and exact resume.

The loop stays theirs. What random numbers it draws follows from (run seed, epoch), (run seed, epoch, item) and (run
seed, step), so a checkpoint needs no state of a generator, and evaluating more often changes nothing.

A run may train several of them in turn, one a stage: the adapter counts the calls of `train`, and a resume passes over
those that were done.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import Trainer

from regimen.errors import Problem, SpecError
from regimen.finetune.foreign.callback import Training
from regimen.finetune.foreign.place import Place
from regimen.finetune.foreign.saved_state import load_weights
from regimen.handle import Restored

if TYPE_CHECKING:
    from regimen.finetune.session import Session
    from regimen.finetune.strategy import TrainingStrategy

CURRENT: ContextVar[Adapter | None] = ContextVar("adapter", default=None)
"""The adapter of the run whose hook is being called: a trainer that a hook makes and trains itself finds it here."""


@dataclass
class Adapter:
    """Trains the trainers of one run."""

    session: Session
    strategy: TrainingStrategy
    pad_id: int | None = None
    shares: Sequence[float] = ()
    """The parts of the budget that a known list of stages has, adding up to 1."""
    at: Place = field(default_factory=Place)
    calls: int = 0
    model: nn.Module | None = None
    """What the last trainer trained."""
    busy: bool = False
    _restored: Restored | None = None
    _noted: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Records a sentence, once a run."""
        if text not in self._noted and self.session.processes.first:
            self._noted.add(text)
            self.session.run.note(text)

    def train(self, trainer: Trainer) -> dict[str, float]:
        """Trains it within the run's budget and returns the last numbers. Raises `Diverged`, `Stopped`."""
        if self.calls == 0:
            self._restored = self.session.run.restore()
            if self._restored:
                self.at = Place(**self._restored.state["place"])
                self.strategy.load_state_dict(self._restored.state["strategy"])
        call, self.calls = self.calls, self.calls + 1
        self._same_device(trainer)
        self.model = trainer.model
        if call < self.at.call:
            return dict(self.at.latest)  # done before the checkpoint; its weights come with a later trainer's
        if call > self.at.call:
            self.at.next()
        there = self._restored if self._restored and self._restored.state["place"]["call"] == call else None
        self.busy = True
        try:
            Training(self, trainer, there.state if there else None).train()
        finally:
            self.busy = False
        self.model = trainer.model
        return dict(self.at.latest)

    def finished(self) -> dict[str, float]:
        """After the last trainer: the last numbers; with `checkpoint.best`, the best weights and theirs."""
        best = self.session.run.best_checkpoint() if self.at.best_step not in (-1, self.at.steps) else None
        if best is None or self.model is None:
            return dict(self.at.latest)
        load_weights(self.model, best.state["weights"])
        chosen_by = self.session.run.settings.checkpoint.best
        self.note(f"the result is the checkpoint of step {best.step}, the best by {chosen_by}.")
        return dict(self.at.best_metrics)

    @property
    def share(self) -> float:
        """How much of the run's epoch is one epoch of the present trainer: its part of the rows."""
        if self.at.call < len(self.shares):
            return self.shares[self.at.call]
        return 1.0 if self.at.call == 0 else 0.0

    @property
    def last_step(self) -> int | None:
        """The run's step at which `budget.steps` ends the present trainer."""
        steps = self.session.run.budget.steps
        if steps is None or self.at.call >= len(self.shares):
            return steps
        return round(steps * sum(self.shares[: self.at.call + 1]))

    def _same_device(self, trainer: Trainer) -> None:
        wanted, has = self.session.processes.device.type, trainer.args.device.type
        if wanted != has:
            text = f"is {wanted}, and the strategy's trainer is on {has}."
            raise SpecError(Problem("device", text, "Set device: auto, or use_cpu in its TrainingArguments."))


def is_trainer(made: Any) -> bool:
    return isinstance(made, Trainer)
