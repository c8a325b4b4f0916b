"""What a run will take: memory and steps told by the helper, seconds from the last run that was like it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regimen.records.reader import Record
from regimen.web.admission import admit
from regimen.web.services.parts import Parts
from regimen.web.services.runs import listed

_LOOKED_AT = 20
"""Runs of the same task and strategy that are compared, the newest first."""
_PACE = (
    *("task.model", "task.data.train", "device", "precision", "threads"),
    *("strategy.batch_size", "strategy.accumulate", "strategy.max_length", "strategy.packing"),
    *("strategy.tuning", "strategy.quantize", "strategy.gradient_checkpointing", "strategy.search"),
)
"""Settings that change how long a step takes."""


def estimate(parts: Parts, settings: Mapping[str, Any]) -> dict[str, Any]:
    """See `helper.estimating.estimate`; besides `seconds` and `measured_on`, the run that they come from, or null.

    Seconds are told only where a run with the same task, strategy, and settings that matter for the pace has completed
    here: nothing is guessed.
    """
    admit(settings, parts.home)
    answer: dict[str, Any] = parts.helper.ask("estimate", settings=dict(settings))
    resolved = answer.pop("settings")
    seconds, run = _seconds(parts, resolved, answer["steps"])
    return {**answer, "seconds": seconds, "measured_on": run}


def _seconds(parts: Parts, settings: Mapping[str, Any], steps: int | None) -> tuple[float | None, str | None]:
    if steps is None:
        return None, None
    task, strategy = settings["task"]["name"], settings["strategy"]["name"]
    rows = listed(parts, status="completed", task=task, strategy=strategy).rows
    for row in rows[:_LOOKED_AT]:
        took = (row.ended_at or 0.0) - (row.started_at or 0.0)
        if row.step and took > 0 and row.started_at and _alike(Record(row.folder).settings, settings):
            return took / row.step * steps, row.id
    return None, None


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(_at(one, path) == _at(other, path) for path in _PACE)


def _at(settings: Any, path: str) -> Any:
    for key in path.split("."):
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings
