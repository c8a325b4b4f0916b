"""Benchmark runs for tests, written by the writer that training uses, without training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regimen.records.writer import RecordWriter

_ids = (f"01B{number:023d}" for number in itertools.count())


def settings(problem: str, optimizer: Mapping[str, Any], seed: int, epochs: float) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "budget": {"epochs": epochs, "steps": None},
        "seed": seed,
        "task": {"name": problem, "batch_size": 128, "weight_decay": 0.0},
        "strategy": {"name": "standard", "optimizer": dict(optimizer), "optimizer_name": None},
        "precision": "auto",
    }


def bench_run(
    folder: Path,
    curve: Sequence[float],
    *,
    problem: str = "hills",
    optimizer: Mapping[str, Any] | None = None,
    seed: int = 0,
    status: Any = "completed",
    epochs: float | None = None,
    splits: Sequence[str] = ("train_eval", "valid", "test"),
    **others: Sequence[float],
) -> Path:
    """A run of 10 steps an epoch and 2 s an epoch whose loss is `curve`, entry 0 untrained, on all `splits`.

    `others` are more metrics by their keys with `__` for the slash: `test__accuracy`.
    """
    chosen = {"name": "sgd", "lr": 0.1} if optimizer is None else optimizer
    writer = RecordWriter(folder, next(_ids))
    resolved = settings(problem, chosen, seed, len(curve) - 1 if epochs is None else epochs)
    writer.write_spec({}, resolved, content="c", data="d", code="k", folder=".")
    writer.status("running")
    for epoch, loss in enumerate(curve):
        if epoch:
            writer.metrics(10 * epoch - 1, {"train/loss": 7.0, "train/lr": 0.1, **_clock(epoch - 0.1)})
        more = {key.replace("__", "/"): values[epoch] for key, values in others.items() if epoch < len(values)}
        writer.metrics(10 * epoch, {f"{split}/loss": loss for split in splits} | more)
    writer.status(status, exit_code=0, message="")
    writer.close()
    return folder


def _clock(epoch: float) -> dict[str, float]:
    return {"train/epoch": epoch, "time/elapsed_s": 2 * epoch, "time/fraction": 0.5}


def grid(root: Path, name: str, finals: Mapping[float, Sequence[float]], first_seed: int = 0, **more: Any) -> None:
    """A run for each learning rate and each of its final losses, its seeds from `first_seed` on; all start at 10."""
    for lr, values in finals.items():
        for place, value in enumerate(values):
            seed = first_seed + place
            folder = root / f"{name}_{lr:g}/seed__{seed}"
            bench_run(folder, [10.0, (10 + value) / 2, value], optimizer={"name": name, "lr": lr}, seed=seed, **more)
