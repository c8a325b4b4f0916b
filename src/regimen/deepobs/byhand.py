"""A test problem by its name in DeepOBS, for use outside of any run."""

from __future__ import annotations

from typing import Any

from regimen.deepobs.description import task_name
from regimen.registry import find


def made_problem(testproblem: str, batch_size: int | None, weight_decay: float | None) -> Any:
    """The `regimen.benchmark.Problem`, its data looked at; None means the problem's own. Raises `SpecError`."""
    plugin = find(task_name(testproblem), ("task",))
    given = {"batch_size": batch_size, "weight_decay": weight_decay}
    said = {name: value for name, value in given.items() if value is not None}
    problem = plugin.make(plugin.settings().model_validate({"name": plugin.name, **said}))
    problem.prepare()
    return problem
