"""The contract: what a strategy is, what it is given, what it returns.

A strategy is a plain class, made afresh for each run. Its annotated class attributes are its settings; whatever else it
sets on itself is state. The registry checks the settings, makes the object without calling a base-class constructor,
and puts the values on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from regimen.errors import Problem
from regimen.task import Task

if TYPE_CHECKING:
    from torch import Tensor

    from regimen.handle import Run
    from regimen.spec import RunSettings


class Loss(NamedTuple):
    """A sum and how many terms it has, so that micro-batches and processes add up to the right mean.

    `sum / count` is what is minimised over all that one step sees: tokens for a language model, pairs for a preference
    loss.
    """

    sum: Tensor
    """Scalar, differentiable."""
    count: Tensor | float  # type: ignore[assignment]  # tuple.count is shadowed, on purpose: the word is the field's
    """Terms in the sum."""
    metrics: Mapping[str, tuple[Tensor | float, Tensor | float]] = {}
    """More to record, each as (sum, count), detached."""


class Change(NamedTuple):
    """A setting and what it is to become."""

    path: str
    """`strategy.overlength`"""
    value: Any


@dataclass(frozen=True)
class Finding:
    """Something that preflight noticed. An error refuses the run; a warning and an info are shown and recorded."""

    level: Literal["error", "warning", "info"]
    problem: Problem
    remedy: tuple[Change, ...] = ()
    """What would put it right where that is a matter of settings alone: all of them together."""

    def __str__(self) -> str:
        return f"{self.level}: {self.problem}"


class Strategy:
    """How a task is trained. One class, one file; nothing to register.

    Order of calls: `why_not`, `preflight`, `train`. The first two run before anything is spent and load no weights.
    """

    name: ClassVar[str] = ""
    """Under which it is found: `orpo`; with its family, `finetune/orpo`, it is unique."""
    family: ClassVar[str] = ""
    resume: ClassVar[Literal["exact", "restart"]] = "exact"
    """`exact`: goes on from a checkpoint; `restart`: runs again from step 0 with the same seeds, to the same bytes."""

    def get_strategy_name(self) -> str:
        return self.name

    def why_not(self, task: Task) -> str | None:
        """The reason why it cannot train this task, in a sentence; None if it can."""
        return None

    def preflight(self, task: Task, settings: RunSettings) -> list[Finding]:
        """What a look at the whole task finds, weights not loaded."""
        return []

    def train(self, task: Task, run: Run) -> dict[str, float]:
        """Trains within `run.budget` and returns the final metrics. A strategy that resumes exactly calls
        `run.restore`.
        """
        raise TypeError(f"{type(self).__name__} has no train(task, run)")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold of the strategy itself: a sampler's permutation, a moving average."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
