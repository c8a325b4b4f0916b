"""Several processes train as one: the same numbers, one record, one end. Here two of them, on the CPU.

Losses of two processes equal those of one within `SAME`, relative: sums are added up in another order, nothing else
differs. Measured 3e-8 for sft and 3e-7 for dpo.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from regimen.checkpoint import Checkpoints
from regimen.records.reader import Record, load
from warm import Ended, Warm

SAME = 1e-5
TROUBLED = Path(__file__).parent / "data" / "troubled.py"
# 33 rows in batches of 8: the last batch has one row, so one of two processes has no share of it.
TASK = {"name": "sorting", "train_rows": 33, "valid_rows": 9, "metrics": ["exact_match"], "samples": 2}
STRATEGIES: dict[str, dict[str, Any]] = {
    "sft": {"name": "sft", "optimizer": {"lr": 1e-3}},
    "dpo": {"name": "dpo", "optimizer": {"lr": 1e-4}},
    "troubled": {"name": "./troubled.py", "optimizer": {"lr": 1e-3}},
}


def write_spec(folder: Path, strategy: str, **more: Any) -> None:
    shutil.copy(TROUBLED, folder)
    spec = {
        "task": TASK,
        "strategy": {**STRATEGIES[strategy], "tuning": "full", "batch_size": 8, "accumulate": 2},
        "budget": {"epochs": 2},
        "log": {"every": 1},
        "checkpoint": {"every": 100},
        "threads": 1,
        **more,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(spec))


def launched(warm: Warm, *words: object, processes: int = 2, trouble: str = "none:0:0") -> list[Ended]:
    """What a launcher does: the same command in each process, with its number in the environment."""
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "TROUBLE": trouble}
    children = [
        warm.start(*words, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(processes)
    ]
    return [child.wait(120) for child in children]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def codes(ended: list[Ended]) -> list[int]:
    return [each.code for each in ended]


def only_run(folder: str) -> Record:
    (found,) = Path(folder).rglob("spec.yaml")
    return load(found.parent)


def weights(record: Record) -> dict[str, torch.Tensor]:
    newest = Checkpoints(record.folder).newest()
    assert newest is not None
    kept: dict[str, torch.Tensor] = newest.state["state"]["weights"]
    return kept


def assert_same(one: Record, other: Record, within: float = SAME) -> None:
    """Every recorded number but times, and the weights."""
    assert one.curves.keys() == other.curves.keys()
    for key in one.curves:
        if key.startswith("time/"):
            continue
        assert [point.step for point in one.curves[key]] == [point.step for point in other.curves[key]], key
        for point, another in zip(one.curves[key], other.curves[key], strict=True):
            # Rewards start at 0, where only rounding is left.
            near = math.isclose(point.value, another.value, rel_tol=within, abs_tol=within)
            assert near, f"{key} at step {point.step}: {point.value} and {another.value}"
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(theirs[name], tensor, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("strategy", ["sft", "dpo"])
def test_two_processes_train_as_one(warm: Warm, tmp_path: Path, strategy: str) -> None:
    write_spec(tmp_path, strategy)
    assert warm.run("run", "run.yaml", "-q", "--set", "output=one").code == 0
    first, second = launched(warm, "run", "run.yaml", "--set", "output=two")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert_same(only_run("one"), only_run("two"))
    # The first keeps the record and speaks; the other leaves nothing.
    assert "completed" in first.out
    assert second.out == ""
    record = only_run("two")
    assert (record.status, record.environment["processes"]) == ("completed", 2)
    for name in ("report.html", "artifacts/model/model.safetensors", "artifacts/samples.json", "artifacts/proof.json"):
        assert (record.folder / name).exists(), name
    assert any("proof: saved, loaded again" in note for note in record.notes)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 2)])
def test_a_stopped_run_goes_on_with_another_number_of_processes(
    warm: Warm, tmp_path: Path, before: int, after: int
) -> None:
    write_spec(tmp_path, "troubled")
    assert warm.run("run", "run.yaml", "-q", "--set", "output=whole").code == 0
    words = ("run", "run.yaml", "-q", "--set", "output=parts")
    # Only the last process is sent SIGTERM, and all stop.
    trouble = f"term:{before - 1}:5"
    stopped = (
        launched(warm, *words, processes=before, trouble=trouble)
        if before > 1
        else [warm.run(*words, env={"TROUBLE": trouble})]
    )
    assert codes(stopped) == [5] * before, stopped[-1].err
    record = only_run("parts")
    assert (record.status, record.state["exit_code"]) == ("stopped", 5)
    assert [path.name for path in Checkpoints(record.folder).paths()] == [f"step-{record.state['step']}"]

    words = ("resume", str(record.folder), "-q")
    resumed = launched(warm, *words, processes=after) if after > 1 else [warm.run(*words)]
    assert codes(resumed) == [0] * after, resumed[-1].err
    record = only_run("parts")
    assert_same(only_run("whole"), record)
    changed = f"resumed on {after} process{'es' if after > 1 else ''} instead of {before}."
    assert (changed in record.notes) == (before != after), record.notes


@pytest.mark.parametrize("process", [0, 1])
def test_an_exception_in_one_process_ends_all(warm: Warm, tmp_path: Path, process: int) -> None:
    write_spec(tmp_path, "troubled")
    began = time.monotonic()
    ended = launched(warm, "run", "run.yaml", "-q", trouble=f"fail:{process}:3")
    assert codes(ended) == [1, 1]
    assert time.monotonic() - began < 60
    record = only_run("runs")
    assert (record.status, record.state["exit_code"]) == ("failed", 1)
    assert "troubled.py:31: ValueError: an odd row" in record.state["message"]
    assert "raise ValueError" in (record.folder / "log.txt").read_text()


def test_a_killed_process_ends_the_others(warm: Warm, tmp_path: Path) -> None:
    write_spec(tmp_path, "troubled", checkpoint={"every": 1})
    ended = launched(warm, "run", "run.yaml", "-q", trouble="kill:1:3")
    assert codes(ended) == [75, -9]
    record = only_run("runs")
    assert "lost another, which ended without a word" in record.state["message"]
    assert codes(launched(warm, "resume", record.folder, "-q")) == [0, 0]
    assert only_run("runs").status == "completed"


@pytest.mark.parametrize("row", [5, 6, 7])  # 5 goes to one process, 7 to the other
def test_a_row_that_is_not_finite_is_named_whichever_process_had_it(warm: Warm, tmp_path: Path, row: int) -> None:
    write_spec(tmp_path, "troubled")
    ended = launched(warm, "run", "run.yaml", "-q", trouble=f"nan:any:{row}")
    assert codes(ended) == [4, 4]
    record = only_run("runs")
    assert record.status == "diverged"
    assert f"the loss is nan on sorting train row {row + 1}." in record.state["message"]


def test_a_refusal_reaches_all(warm: Warm, tmp_path: Path) -> None:
    write_spec(tmp_path, "sft", device="mps")
    ended = launched(warm, "run", "run.yaml", "-q")
    assert codes(ended) == [3, 3], ended[0].err
    assert "device: is 'mps'" in ended[0].err


def test_a_budget_in_seconds_ends_all_at_one_step(warm: Warm, tmp_path: Path) -> None:
    write_spec(tmp_path, "troubled", budget={"seconds": 1.5}, evaluate={"every": 1000})
    ended = launched(warm, "run", "run.yaml", "-q", trouble="ahead:1:1")
    assert codes(ended) == [0, 0], ended[0].err + ended[1].err
    record = only_run("runs")
    assert record.curve("train/loss")[-1].step == record.state["step"] > 0


def test_half_a_launch_is_refused(warm: Warm, tmp_path: Path) -> None:
    write_spec(tmp_path, "sft")
    ended = warm.run("run", "run.yaml", "-q", env={"WORLD_SIZE": "2", "RANK": "0"})
    assert ended.code == 2
    assert "WORLD_SIZE: is 2, and LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set." in ended.err


def test_a_trainer_of_transformers_trains_with_all_processes(warm: Warm, tmp_path: Path) -> None:
    rows = [{"text": f"row {number} of forty"} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"name": "text", "model": "tiny", "data": {"train": "rows.jsonl", "eval_split": 0.2}, "samples": 0}
    strategy = str(Path(__file__).parent / "data" / "hf" / "plain_trainer.py")
    spec = {"task": task, "strategy": strategy, "budget": {"steps": 4}, "log": {"every": 1}, "threads": 1}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(spec | {"device": "cpu"}))
    ended = launched(warm, "run", "run.yaml", "-q")
    assert codes(ended) == [0, 0], ended[0].err + ended[1].err
    # 32 rows, two a process and micro-batch, two micro-batches a step: with both, 4 steps are one epoch.
    assert only_run("runs").curve("train/epoch")[-1].value == pytest.approx(1.0)


@pytest.mark.long
def test_torchrun(warm: Warm, tmp_path: Path) -> None:
    write_spec(tmp_path, "troubled", evaluate={"every": 1000})
    assert warm.run("run", "run.yaml", "-q", "--set", "output=one").code == 0

    def torchrun(output: str, **variables: str) -> int:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
        command += ["-m", "regimen", "run", "run.yaml", "-q", "--set", f"output={output}"]
        return subprocess.run(command, env={**os.environ, **variables}, timeout=300, check=False).returncode

    assert torchrun("two") == 0
    assert_same(only_run("one"), only_run("two"))
    assert torchrun("failed", TROUBLE="fail:1:3") == 1
    record = only_run("failed")
    assert (record.status, record.state["exit_code"]) == ("failed", 1)
    assert "an odd row" in record.state["message"]
