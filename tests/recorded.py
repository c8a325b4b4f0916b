"""Run folders for tests, written by the writer that training uses, without training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regimen.records.reader import Record
from regimen.records.writer import RecordWriter

ID = "01KAHZ3Q8M5V7R2T4W6Y8B0D1F"


def settings(strategy: str = "sft", seed: int = 0, lr: float = 2e-4) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "budget": {"epochs": None, "steps": 40},
        "seed": seed,
        "checkpoint": {"every": 100, "best": None},
        "task": {"name": "text", "model": "tiny", "data": {"train": "train.jsonl"}},
        "strategy": {"name": strategy, "optimizer": {"name": "adamw", "lr": lr}},
    }


def begin(folder: Path, *, run_id: str = ID, data: str = "d1", **chosen: Any) -> RecordWriter:
    """A writer of a run that has just started; the caller closes it."""
    writer = RecordWriter(folder, run_id)
    resolved = settings(**chosen)
    passed = {"task": {"name": "text"}, "strategy": resolved["strategy"], "seed": resolved["seed"]}
    writer.write_spec(passed, resolved, content=f"c-{data}-{chosen}", data=data, code="k1", folder="/home/ada/sums")
    packages = {"torch": "2.13.0"}
    writer.write_environment({"python": "3.11.9", "cores": 2, "packages": packages, "command": ["regimen", "run"]})
    writer.status("running")
    return writer


def train(writer: RecordWriter, first: int = 1, last: int = 40, shift: float = 0.0) -> None:
    """Records one line a step and an evaluation every 20, a fixed function of the step."""
    for step in range(first, last + 1):
        timing = {"time/elapsed_s": step / 2, "time/fraction": step / 40, "time/tokens_per_s": 312.0}
        writer.metrics(step, {"train/loss": 1 + 3 * math.exp(-step / 10) + shift, "train/lr": 1e-4, **timing})
        if step % 20 == 0:
            writer.metrics(step, {"valid/loss": 1 + 3 * math.exp(-step / 10)})


def a_run(folder: Path, *, status: Any = "completed", final: Mapping[str, Any] | None = None, **chosen: Any) -> Record:
    """A run of 40 steps that has ended."""
    writer = begin(folder, **chosen)
    writer.metrics(0, {"valid/loss": 4.0})
    train(writer)
    writer.status(status, exit_code=0, message="", final={"valid/loss": 1.05} if final is None else final)
    writer.close()
    return Record(folder)
