"""One run as DeepOBS keeps it: what was set, and a number after each epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, overload

METRICS = (
    "train_losses",
    "valid_losses",
    "test_losses",
    "train_accuracies",
    "valid_accuracies",
    "test_accuracies",
)
"""What is measured before training and after each epoch, by DeepOBS' names."""

SCHEMA = "regimen/1"
"""Of the JSON that we write: DeepOBS' keys, and `schema`, `status`, `notes`, `run`, `content`, `seconds`."""

Layout = Literal["1.1", "1.2", "l2_reg", "regimen"]


class Later(Sequence[float]):
    """Many numbers that are read when they are first asked for."""

    def __init__(self, source: Callable[[], bytes]) -> None:
        self._source = source

    @cached_property
    def _numbers(self) -> list[float]:
        numbers: list[float] = json.loads(self._source())
        return numbers

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        return self._numbers[index]

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[float]:
        return iter(self._numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Output:
    """What one run left, whichever layout it was read from."""

    testproblem: str
    batch_size: int
    num_epochs: float
    random_seed: int
    weight_decay: float | None
    """Factor of the problem's penalty; None: the problem's own."""
    optimizer_name: str
    hyperparams: Mapping[str, object]
    """Of the optimizer; the learning rate of the 1.1 layout is `lr`, as in its folder names."""
    training_params: Mapping[str, object]
    """Of the runner: a schedule, clipping. None values are left out."""
    metrics: Mapping[str, Sequence[float]]
    """DeepOBS' names to numbers: entry 0 is the untrained model, entry n the model after n epochs. A curve may end
    early, and those of DeepOBS 1.1 may hold NaN and infinities.
    """
    minibatch_train_losses: Sequence[float] = ()
    status: str = "completed"
    """completed, diverged, stopped, failed; for runs of DeepOBS it is read off the numbers."""
    path: str = ""
    """Where it was read from; for a run in an archive, `archive/path`."""
    layout: Layout = "regimen"
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know."""
    more: Mapping[str, object] = field(default_factory=dict)
    """Other keys of the file, as they are."""

    @property
    def learning_rate(self) -> float | None:
        """Under either of its names; None for an optimizer without one."""
        rate = self.hyperparams.get("lr", self.hyperparams.get("learning_rate"))
        return float(rate) if isinstance(rate, int | float) else None

    @property
    def epochs_done(self) -> int:
        """After how many epochs the last numbers were taken."""
        return max((len(curve) for curve in self.metrics.values()), default=1) - 1

    def final(self, metric: str) -> float:
        """The last number of a metric; NaN for a run that did not complete, or has no such metric."""
        curve = self.metrics.get(metric, ())
        return curve[-1] if self.status == "completed" and curve else math.nan

    def to_json(self) -> dict[str, object]:
        """The keys of the 1.2 layout, and ours."""
        return {
            "schema": SCHEMA,
            "testproblem": self.testproblem,
            "batch_size": self.batch_size,
            "num_epochs": self.num_epochs,
            "random_seed": self.random_seed,
            "weight_decay": self.weight_decay,
            "optimizer_name": self.optimizer_name,
            "optimizer_hyperparams": dict(self.hyperparams),
            "training_params": dict(self.training_params),
            "status": self.status,
            "notes": list(self.notes),
            **self.more,
            **{name: list(curve) for name, curve in self.metrics.items()},
            "minibatch_train_losses": list(self.minibatch_train_losses),
        }
