"""What is trained and how it is judged: model, data and yardstick, nothing about how."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from regimen.spec import Budget


class Task:
    """The base of every task. A task is a plug-in like a strategy: its annotated attributes are its settings.

    A task is light: making it and `prepare` read data and configuration, never weights. Whoever trains asks for the
    model after every check has passed.
    """

    name: ClassVar[str] = ""
    """Under which it is found; unique among tasks."""

    cache = Path("runs/.cache")
    """Where it may keep what is costly to make again; set by whoever makes the task."""

    @property
    def usual_budget(self) -> Budget | None:
        """The budget where the settings give none; None: one epoch."""
        return None

    def prepare(self) -> None:
        """Reads and checks the data; called once, after the settings are set. Raises `DataError` or `SpecError`."""

    def fingerprint(self) -> str:
        """Hash of the data and of whatever else outside the settings decides the result. Called after `prepare`."""
        return ""

    def describe(self) -> dict[str, Any]:
        """Counts and names for the record: rows by split, what was dropped and why, the model's size."""
        return {}
