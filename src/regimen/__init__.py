"""Training strategies: written in one file, checked before anything is spent, resumed exactly, compared honestly."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regimen.execute import prepare, resume, run
    from regimen.handle import Run
    from regimen.records.reader import Record, load
    from regimen.spec import Budget
    from regimen.strategy import Loss, Strategy
    from regimen.task import Task

try:
    __version__ = version("regimen-ml")
except PackageNotFoundError:
    __version__ = "0.0.0"

_HOMES = {
    "prepare": "execute",
    "resume": "execute",
    "run": "execute",
    "Record": "records.reader",
    "load": "records.reader",
    "Run": "handle",
    "Budget": "spec",
    "Loss": "strategy",
    "Strategy": "strategy",
    "Task": "task",
}
__all__ = ["Budget", "Loss", "Record", "Run", "Strategy", "Task", "__version__", "load", "prepare", "resume", "run"]


def __getattr__(name: str) -> Any:
    # Each name is imported when it is first used: `import regimen` costs milliseconds and no torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'regimen' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"regimen.{_HOMES[name]}"), name)
