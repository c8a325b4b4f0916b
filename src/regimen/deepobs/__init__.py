"""DeepOBS' published names: runners, and what is written with them. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regimen.deepobs.runners import LearningRateScheduleRunner, PTRunner, Runner, StandardRunner
    from regimen.deepobs.tensorflow import TFRunner

_HOMES = {
    "LearningRateScheduleRunner": "runners",
    "PTRunner": "runners",
    "Runner": "runner",
    "StandardRunner": "runners",
    "TFRunner": "tensorflow",
}
__all__ = ["LearningRateScheduleRunner", "PTRunner", "Runner", "StandardRunner", "TFRunner"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'regimen.deepobs' has no attribute {name!r}")
    return getattr(importlib.import_module(f"regimen.deepobs.{_HOMES[name]}"), name)
