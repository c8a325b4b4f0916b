"""Run folders written without training: what a page shows of a run does not depend on how its numbers came about."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regimen.identity import new_id
from regimen.records.writer import RecordWriter, Status

SETTINGS: dict[str, Any] = {
    "task": {"name": "text", "model": "tiny"},
    "strategy": {"name": "sft", "optimizer": {"name": "adamw", "lr": 0.001}, "batch_size": 8, "clip_norm": None},
    "budget": {"steps": 100},
    "seed": 0,
}


def begun_run(home: Path, name: str = "a", **settings: Any) -> RecordWriter:
    """A run that is being trained for as long as the writer is open."""
    resolved = {**SETTINGS, **settings}
    writer = RecordWriter(home / "runs" / name / f"seed__{resolved['seed']}__{name}", new_id())
    writer.write_spec(settings, resolved, content=f"content of {name}", data="d", code="c", folder=str(home))
    writer.status("running")
    return writer


def made_run(
    home: Path,
    name: str = "a",
    losses: Mapping[int, float] | None = None,
    *,
    status: Status = "completed",
    message: str = "",
    **settings: Any,
) -> str:
    """A run that has ended; returns its id."""
    writer = begun_run(home, name, **settings)
    try:
        for step, loss in (losses or {1: 2.0, 2: 1.0}).items():
            writer.metrics(step, {"train/loss": loss, "time/elapsed_s": step / 10, "time/fraction": step / 100})
        final = {"train/loss": list(losses.values())[-1]} if losses else {}
        writer.status(status, message=message, final=final)
    finally:
        writer.close()
    return writer.id


def many_points(home: Path, name: str, count: int, keys: tuple[str, ...], spike: int) -> str:
    """A run with `count` recorded lines, 0 everywhere but for a spike of 100 in each metric."""
    writer = begun_run(home, name)
    writer.close()
    with (writer.folder / "events.jsonl").open("a") as events:
        for step in range(count):
            values = dict.fromkeys(keys, 100.0 if step == spike else (step % 7) / 10)
            values |= {"time/elapsed_s": step / 10, "time/tokens_per_s": 50.0, "time/tokens": 7.0 * step}
            line = {"kind": "metrics", "step": step, "values": values, "at": time.time() + step / 10}
            events.write(json.dumps(line) + "\n")
    with_end = RecordWriter(writer.folder, writer.id)
    with_end.status("completed", final=dict.fromkeys(keys, 0.0))
    with_end.close()
    return writer.id
