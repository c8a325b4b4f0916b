"""The demo: a tiny language model learns to sort digits from people who disagree, then from their preferences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from regimen.execute import run
from regimen.records.reader import Record
from regimen.records.writer import Listener

TASK = {"name": "sorting", "digits": 4, "train_rows": 4000, "descending": 0.5}
"""Half of the answers to learn from are sorted upwards, half downwards; what is right is upwards."""


class Stage(NamedTuple):
    """A run of the demo and what it is to show."""

    title: str
    settings: dict[str, Any]


def stages(output: Path, tuned: Path | None = None) -> list[Stage]:
    """The settings of both runs; the second starts from the model that the first left."""
    # One thread: a model this small gains little from two, and loses a lot where another program wants the core.
    common = {"seed": 0, "output": str(output), "log": {"every": 10}, "threads": 1}
    sft = {
        "task": TASK,
        "strategy": {"name": "sft", "tuning": "full", "batch_size": 64, "optimizer": {"lr": 2e-3}},
        "budget": {"steps": 600},
        "evaluate": {"every": 100},
    }
    dpo = {
        "task": {**TASK, "model": str(tuned)},
        "strategy": {"name": "dpo", "tuning": "full", "batch_size": 32, "optimizer": {"lr": 5e-5}},
        "budget": {"steps": 30},
        "evaluate": {"every": 10},
    }
    return [
        Stage("sft: answers of people who disagree", {**sft, **common}),
        Stage("dpo: their preferences", {**dpo, **common}),
    ]


def demo(output: Path, listeners: Sequence[Listener] = ()) -> list[tuple[str, Record]]:
    """Runs both stages below `output`; returns each with its record."""
    first, _ = stages(output)
    taught = run(first.settings, listeners=listeners)
    _, second = stages(output, taught.folder.resolve() / "artifacts" / "model")
    return [(first.title, taught), (second.title, run(second.settings, listeners=listeners))]


def summary(done: Sequence[tuple[str, Record]]) -> str:
    """Exact match on held-out questions before and after each stage, as a table."""
    lines = [f"{'':<38} exact match before -> after   seconds"]
    for title, record in done:
        curve = record.curve("valid/exact_match")
        seconds = record.curve("time/elapsed_s")[-1].value
        lines.append(f"{title:<38} {curve[0].value:>12.1%} -> {curve[-1].value:<10.1%} {seconds:>9.0f}")
    lines += [f"report of {title.partition(':')[0]}: {record.folder / 'report.html'}" for title, record in done]
    return "\n".join(lines)
