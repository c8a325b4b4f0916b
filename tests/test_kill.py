"""`kill -9` at random moments, then `regimen resume`: the end is byte for byte that of a run that was left alone.

`make kill` does 20 a strategy. Kills are uniform over the run, and every fourth waits for a save and strikes inside it.
"""

from __future__ import annotations

import hashlib
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from regimen.checkpoint import Checkpoints, tensors_of
from regimen.records.reader import Record, load
from warm import Warm

SORTING = {"name": "sorting", "train_rows": 96, "valid_rows": 16, "metrics": []}
LORA = {"tuning": {"name": "lora", "r": 4, "dropout": 0.1}, "batch_size": 8, "accumulate": 2}
MOMENTUM = {"name": "sgd", "lr": 0.002, "momentum": 0.9}
SCHEDULE = {"lr_sched_epochs": [10, 20], "lr_sched_factors": [0.5, 0.1]}
STRATEGIES: dict[str, dict[str, Any]] = {
    "sft": {"task": SORTING, "strategy": {"name": "sft", **LORA}, "budget": {"epochs": 8}},
    "dpo": {"task": SORTING, "strategy": {"name": "dpo", "optimizer": {"lr": 1e-3}, **LORA}, "budget": {"epochs": 8}},
    "lr_schedule": {
        "task": "quadratic_deep",
        "strategy": {"name": "lr_schedule", "optimizer": MOMENTUM, **SCHEDULE},
        "budget": {"epochs": 30},
    },
}


def spec(strategy: str, folder: Path, *, every: int, workers: int) -> dict[str, Any]:
    return {
        **STRATEGIES[strategy],
        "seed": 3,
        "checkpoint": {"every": every},
        "evaluate": {"every": 7},
        "log": {"every": 3},
        "workers": workers,
        "threads": 1,
        "output": str(folder),
    }


def fingerprint(record: Record) -> tuple[str, list[tuple[int, str, float]]]:
    """Weights, optimizer, counters of the last checkpoint, and every recorded number."""
    newest = Checkpoints(record.folder).newest()
    assert newest is not None
    digest = hashlib.sha256()
    for tensor in tensors_of(newest.state["state"]):
        digest.update(tensor.numpy().tobytes())
    digest.update(repr([newest.state["state"][part] for part in ("cursor", "parts")]).encode())
    return digest.hexdigest(), record.identity


def only_run(folder: Path) -> Path:
    (found,) = [path.parent for path in folder.rglob("spec.yaml")]
    return found


def killed_and_resumed(
    warm: Warm, file: Path, folder: Path, moment: random.Random, length_s: float, inside_save: bool
) -> Record:
    child = warm.start("run", file, "--quiet", cwd=folder)
    _strike(child, folder, moment, length_s, inside_save)
    for _ in range(20):  # every third resume is killed, too
        if not list(folder.rglob("spec.yaml")):
            return killed_and_resumed(warm, file, folder, moment, length_s, inside_save)
        child = warm.start("resume", only_run(folder), "--quiet", cwd=folder)
        if moment.random() < 1 / 3:
            _strike(child, folder, moment, length_s, inside_save)
            continue
        ended = child.wait()
        assert ended.code == 0 or "has completed" in ended.err, ended.err
        return load(only_run(folder))
    raise AssertionError("never got to the end")


def _strike(child: Any, folder: Path, moment: random.Random, length_s: float, inside_save: bool) -> None:
    deadline = time.monotonic() + moment.uniform(0.05, 1.0) * length_s
    while time.monotonic() < deadline and child.running:
        time.sleep(0.001)
    while inside_save and child.running and not _saving(folder):
        pass
    if child.running:
        child.kill()
    child.wait()


def _saving(folder: Path) -> bool:
    with suppress(FileNotFoundError):  # a folder that was there a moment ago has been renamed
        return bool(list(folder.rglob("step-*.tmp")))
    return False


def check_kills(warm: Warm, tmp_path: Path, strategy: str, kills: int, epochs: int | None = None) -> None:
    same = 0
    budget = {"budget": {"epochs": epochs}} if epochs else {}
    for every, workers in ((4, 0), (50, 2)):
        reference = tmp_path / f"{strategy}-{every}"
        reference.mkdir()
        file = tmp_path / f"{strategy}-{every}.yaml"
        file.write_text(yaml.safe_dump({**spec(strategy, Path("runs"), every=every, workers=workers), **budget}))
        began = time.monotonic()
        assert warm.run("run", file, "--quiet", cwd=reference).code == 0
        length_s = time.monotonic() - began
        expected = fingerprint(load(only_run(reference)))
        share = kills // 2 if every == 50 else kills - kills // 2
        for number in range(share):
            folder = tmp_path / f"{strategy}-{every}-{number}"
            folder.mkdir()
            record = killed_and_resumed(
                warm, file, folder, random.Random(f"{strategy} {every} {number}"), length_s, number % 4 == 0
            )
            assert record.status == "completed"
            assert fingerprint(record) == expected, f"kill {number}, checkpoints every {every} steps"
            same += 1
    print(f"{strategy}: {same} of {kills} identical")


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_killed_run_ends_identically(
    warm: Warm, tmp_path: Path, strategy: str, request: pytest.FixtureRequest
) -> None:
    kills = request.config.getoption("--kills")
    epochs = None if kills or strategy == "lr_schedule" else 4
    check_kills(warm, tmp_path, strategy, kills or 3, epochs)


@pytest.mark.long
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_many_kills(warm: Warm, tmp_path: Path, strategy: str) -> None:
    check_kills(warm, tmp_path, strategy, 10)
