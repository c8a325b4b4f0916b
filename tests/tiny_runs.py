"""Runs of a tiny model for tests: their descriptions, strategies that go wrong on purpose, and what two runs share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from regimen.checkpoint import Checkpoints, tensors_of
from regimen.events import Event, Metrics
from regimen.records.reader import Record

TASK = {"name": "sorting", "train_rows": 96, "valid_rows": 16, "metrics": [], "samples": 0}
FULL = {"name": "sft", "tuning": "full", "batch_size": 8, "optimizer": {"lr": 1e-3}}

HEAD = (
    "from __future__ import annotations\n\nimport torch\n\nfrom regimen.finetune.strategy import TrainingStrategy\n\n\n"
)

RANDOM = (
    HEAD
    + '''class Random(TrainingStrategy):
    """Replaces tokens of the question at random, and drops parts of the adapter."""

    name = "random"

    def augment(self, item, generator):
        ids = item["input_ids"].copy()
        ids[generator.integers(1, 10)] = generator.integers(10, 40)
        return {**item, "input_ids": ids}
'''
)

BROKEN = (
    HEAD
    + '''class Broken(TrainingStrategy):
    """Is not finite at one call, or for one row, or in its gradient alone."""

    name = "broken"
    bad_call: int = -1
    bad_row: int = -1
    in_gradient: bool = False
    fail: bool = False
    calls = 0

    def compute_loss(self, model, batch):
        loss = super().compute_loss(model, batch)
        self.calls += model.training
        if not (model.training and (self.calls == self.bad_call or self.bad_row in list(batch.rows))):
            return loss
        if self.fail:
            raise ValueError("the frobnicator is empty")
        if self.in_gradient:
            nothing = (loss.sum - loss.sum.detach()).abs().sqrt()  # 0, with an infinite slope
            return loss._replace(sum=loss.sum + 0 * nothing)
        return loss._replace(sum=loss.sum * float("nan"))
'''
)


def spec(strategy: Mapping[str, Any] = FULL, **more: Any) -> dict[str, Any]:
    usual = {"task": TASK, "strategy": strategy, "budget": {"steps": 6}, "seed": 3, "threads": 1, "log": {"every": 1}}
    return usual | more


def only_run(folder: Path | None = None) -> Path:
    (found,) = [path.parent for path in (folder or Path()).rglob("spec.yaml")]
    return found


def weights(record: Record) -> list[torch.Tensor]:
    newest = Checkpoints(record.folder).newest()
    assert newest is not None
    return list(tensors_of(newest.state["state"]["weights"]))


def everything(record: Record) -> tuple[list[bytes], list[tuple[int, str, float]], Any]:
    """Weights, optimizer and counters of the last checkpoint, and every recorded number outside `time/`."""
    newest = Checkpoints(record.folder).newest()
    assert newest is not None
    tensors = [tensor.view(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors_of(newest.state["state"])]
    return tensors, record.identity, newest.state["state"]["cursor"]


def stopping_at(step: int) -> Callable[[Event], None]:
    """Asks for a stop when this step has been recorded, as `regimen stop` does."""

    def listen(event: Event) -> None:
        if isinstance(event, Metrics) and event.step == step and "train/loss" in event.values:
            (only_run() / "stop").touch()

    return listen


def write_rows(name: str, count: int, first: int = 0) -> None:
    """Rows whose answers differ in length."""
    rows = [{"prompt": f"Say {n}.", "completion": " ".join(["so"] * (1 + n % 5) + [str(n)])} for n in range(count)]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows[first:]))


def text_task() -> dict[str, Any]:
    write_rows("train.jsonl", 16)
    write_rows("valid.jsonl", 24, first=16)
    return {"name": "text", "data": {"train": "train.jsonl", "valid": "valid.jsonl"}, "samples": 0, "template": "plain"}


def broken(**settings: Any) -> dict[str, Any]:
    Path("broken.py").write_text(BROKEN)
    return {**FULL, "name": "./broken.py", **settings}
