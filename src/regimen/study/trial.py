"""The words of a study: a setting to try, the run that tries it, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Setting = Mapping[str, Any]
"""Values by settings path, as in {"strategy.optimizer.lr": 0.1}."""
Purpose = Literal["tuning", "rerun"]
Status = Literal["completed", "diverged", "failed", "refused"]


class Wish(NamedTuple):
    """What a tuner wants to know next: how good a setting is, with every tuning seed."""

    number: int
    """Of the setting, from 0 on."""
    setting: Setting
    rung: int = 0
    epochs: float | None = None
    """Train for so many; None is the whole budget."""


class Place(NamedTuple):
    """Which run of a study: unique in its log."""

    task: str
    purpose: Purpose
    number: int
    rung: int
    seed: int


class Wanted(NamedTuple):
    """A run that the study needs and does not have."""

    place: Place
    setting: Setting
    epochs: float | None
    goes_on_from: str | None = None
    """Folder of the run that it continues."""
    epochs_before: float = 0.0
    """Of that run."""


class Reached(NamedTuple):
    """The metric after so many epochs."""

    epoch: float
    value: float


@dataclass(frozen=True)
class Trial:
    """A run that has ended, as a line of the log has it."""

    place: Place
    setting: Setting
    status: Status
    value: float | None
    """The metric, at the end or at its best as the description says; None where the run did not complete."""
    curve: tuple[Reached, ...]
    epochs: float | None
    """Cost: trained for this trial alone; None where the run did not record it."""
    seconds: float
    """Cost: wall time for this trial alone."""
    folder: str = ""
    """Relative to the study's; empty where nothing could be started."""
    content: str = ""
    """Content hash of the run."""
    message: str = ""
    """Why it did not complete."""
    found: bool = False
    """The run was there already, from a cluster or an interrupted tuning."""
    at: float = 0.0
    """When it was logged, in seconds since 1970, UTC."""
