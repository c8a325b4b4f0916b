"""DeepOBS' published names: runners, and what is written with them. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regimen.deepobs.runners import LearningRateScheduleRunner, PTRunner, Runner, StandardRunner
    from regimen.deepobs.tensorflow import TFRunner
    from regimen.deepobs.tuners import GP, GridSearch, ParallelizedTuner, RandomSearch, Tuner

_HOMES = {
    "LearningRateScheduleRunner": "runners",
    "PTRunner": "runners",
    "Runner": "runner",
    "StandardRunner": "runners",
    "TFRunner": "tensorflow",
    "GP": "tuners",
    "GridSearch": "tuners",
    "ParallelizedTuner": "tuners",
    "RandomSearch": "tuners",
    "Tuner": "tuners",
}
__all__ = [
    "GP",
    "GridSearch",
    "LearningRateScheduleRunner",
    "PTRunner",
    "ParallelizedTuner",
    "RandomSearch",
    "Runner",
    "StandardRunner",
    "TFRunner",
    "Tuner",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regimen.deepobs' has no attribute {name!r}")
    return getattr(importlib.import_module(f"regimen.deepobs.{_HOMES[name]}"), name)
