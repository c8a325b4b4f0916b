"""A run as the analysis sees it, whoever recorded it: what was trained, with which setting and seed, and its curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from regimen.readable import number
from regimen.records.index import Unreadable
from regimen.records.writer import Status

Value = float | int | str | bool | None | tuple[object, ...]
"""Of a setting."""


class Curve(NamedTuple):
    """One metric at each evaluation; the three are as long as one another, or `seconds` is empty."""

    epochs: tuple[float, ...]
    """Trained so far; the number of the evaluation where a run recorded no epochs."""
    values: tuple[float, ...]
    seconds: tuple[float, ...] = ()
    """Since training began; empty where a run recorded no time."""


@dataclass(frozen=True)
class Run:
    """One run of one seed."""

    problem: str
    optimizer: str
    """The name by which optimizers are compared; the strategy's where there is none."""
    runner: str
    """The strategy, `standard` say; empty where it was not recorded."""
    setting: Mapping[str, Value]
    """Hyperparameters by their names; everything else by its path: `task.batch_size`, `budget.epochs`."""
    seed: int
    status: Status
    curves: Mapping[str, Curve]
    """By metric: `valid/loss`, `test/accuracy`."""
    source: str
    """The folder or file it was read from."""
    made: str
    """Sorts by time: of two runs of one setting and seed, the later one counts."""
    budget: float | None = None
    """Epochs it was given, if it was limited by epochs."""
    is_tuning: bool | None = None
    """Whether a study made it to choose a setting; None where nothing says so."""

    @property
    def has_diverged(self) -> bool:
        """Recorded as such, or a loss is not finite: accuracies stay finite when a loss does not."""
        losses = (curve for key, curve in self.curves.items() if key.endswith("loss"))
        return self.status == "diverged" or any(not math.isfinite(v) for curve in losses for v in curve.values)

    @property
    def has_ended(self) -> bool:
        """Whether its final numbers count: it trained to its end, or diverged on the way."""
        return self.status == "completed" or self.has_diverged

    @property
    def epochs(self) -> float:
        """Trained at the last evaluation."""
        return max((curve.epochs[-1] for curve in self.curves.values() if curve.epochs), default=0.0)


@dataclass(frozen=True)
class Runs:
    """All that a folder holds."""

    source: str
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know about the reading itself."""
    unreadable: tuple[Unreadable, ...] = field(default=())
    metric: str | None = None
    """The name of the metric by which a study chose, `loss`, if all of its runs are of such studies."""
    at: str | None = None
    """By which value of a run it did: final or best."""


def comparable(value: object) -> Value:
    """A setting's value, fit for a key: lists as tuples.

    >>> comparable([2, [4.0]]), comparable(0.1)
    ((2, (4.0,)), 0.1)
    """
    if isinstance(value, str | int | float) or value is None:
        return value
    if isinstance(value, list | tuple):
        return tuple(comparable(entry) for entry in value)
    return str(value)


def said(setting: Mapping[str, Value], keys: tuple[str, ...]) -> str:
    """The values of `keys`, to tell settings apart: `lr 0.01, momentum 0.9`.

    >>> said({"lr": 0.00025118864315, "nesterov": True}, ("lr", "nesterov"))
    'lr 0.0002512, nesterov yes'
    """
    return ", ".join(f"{key} {shown(setting.get(key))}" for key in keys) or "the only setting"


def shown(value: object) -> str:
    """One value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(float(value))
    return "-" if value is None else str(value)


def flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, Value]:
    """Nested settings as dotted paths."""
    found: dict[str, Value] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = comparable(value)
    return found


def folder_of(path: Path) -> str:
    """As text, relative to where we are if it is below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
