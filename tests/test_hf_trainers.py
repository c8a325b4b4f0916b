"""Transformers' and TRL's trainers inside a run: budget, record, finite check, stops, exact resume after `kill -9`."""

from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml

import regimen
from regimen.checkpoint import Checkpoints, tensors_of
from regimen.errors import Diverged, SpecError, Stopped, StrategyFailed
from regimen.events import Metrics, Note
from regimen.finetune.foreign.metric_names import renamed
from regimen.finetune.foreign.saved_state import storable
from warm import Warm

HERE = Path(__file__).parent / "data"
KILLED = {
    "transformers": (HERE / "hf" / "plain_trainer.py", {}),
    "sft": (HERE / "hf" / "trl_sft.py", {}),
    "grpo": (HERE / "hf" / "trl_grpo.py", {}),
    "curriculum": ("curriculum.py", {}),
    "custom": ("custom_strategy.py", {"max_seq_length": 24, "gradient_accumulation_steps": 2}),
}
"""The first two with dropout and two micro-batches a step, GRPO with two passes over what it generated, the curriculum
with a trainer for each stage. The last two are from ModelForge's page."""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write_rows(tmp_path / "train.jsonl")


def write_rows(path: Path, columns: tuple[str, ...] = ("text",)) -> str:
    draw = random.Random(0)
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "the", "dog", "ran", "to", "the", "sea"]
    rows = [{column: " ".join(draw.choices(words, k=draw.randint(3, 9))) for column in columns} for _ in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def spec(strategy: str | Path, data: str, settings: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "task": {"name": "text", "model": "tiny", "data": {"train": data, "eval_split": 0.2}, "samples": 0},
        "strategy": {"name": str(strategy), **(settings or {})},
        "budget": {"steps": 12},
        "checkpoint": {"every": 2},
        "evaluate": {"every": 4},
        "log": {"every": 1},
        "device": "cpu",
        "threads": 1,
        "seed": 3,
        "output": "runs",
    } | more


def odd(name: str) -> str:
    return f"{HERE / 'hf' / 'odd.py'}:{name}"


def curve(record: regimen.Record, key: str) -> dict[int, float]:
    return {e.step: e.values[key] for e in record.events if isinstance(e, Metrics) and key in e.values}


def notes(record: regimen.Record) -> str:
    return "\n".join(event.text for event in record.events if isinstance(event, Note))


def fingerprint(folder: Path) -> tuple[Any, ...]:
    """Weights, optimizer, schedule, the trainer's counters, and every recorded number outside `time/`."""
    newest = Checkpoints(folder).newest()
    assert newest is not None
    digest = hashlib.sha256()
    for tensor in tensors_of(newest.state["state"]):
        digest.update(tensor.detach().float().numpy().tobytes())
    kept = newest.state["state"]
    numbers = json.dumps([kept["place"], kept["state"], kept["schedule"]], sort_keys=True)
    record = regimen.load(folder)
    values = [(e.step, e.values) for e in record.events if isinstance(e, Metrics)]
    recorded = [(step, k, v) for step, found in values for k, v in found.items() if not k.startswith("time/")]
    return newest.step, digest.hexdigest(), numbers, recorded


def only_run(folder: Path) -> Path:
    (found,) = [path.parent for path in folder.rglob("spec.yaml")]
    return found


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_ends_identically(warm: Warm, tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    file, settings = KILLED[name]
    if isinstance(file, str):
        file = request.getfixturevalue("page") / file
    rows = write_rows(tmp_path / "rows.jsonl", ("input", "output") if name in ("custom", "curriculum") else ("text",))
    described = tmp_path / "run.yaml"
    described.write_text(yaml.safe_dump(spec(file, rows, settings)))
    (tmp_path / "whole").mkdir()
    began = time.monotonic()
    ended = warm.run("run", described, "--quiet", cwd=tmp_path / "whole")
    length_s = time.monotonic() - began
    assert ended.code == 0, ended.err
    expected = fingerprint(only_run(tmp_path / "whole"))
    moment = random.Random(name)
    for number in range(request.config.getoption("--kills") or 1):
        folder = tmp_path / f"killed-{number}"
        folder.mkdir()
        for kill in (True, moment.random() < 0.3, False):
            there = list(folder.rglob("spec.yaml"))
            words = ("resume", there[0].parent) if there else ("run", described)
            child = warm.start(*words, "--quiet", cwd=folder)
            deadline = time.monotonic() + moment.uniform(0.2, 0.95) * length_s
            while kill and child.running and time.monotonic() < deadline:
                time.sleep(0.002)
            if kill and child.running:
                child.kill()
            ended = child.wait()
        assert ended.code == 0 or "has completed" in ended.err, ended.err
        assert fingerprint(only_run(folder)) == expected, f"kill {number}"


def test_a_stopped_run_goes_on_identically(data: str) -> None:
    whole = regimen.run(spec(HERE / "hf" / "plain_trainer.py", data, log={"every": 4}, output="whole"))
    seen: list[Path] = []

    def ask(event: object) -> None:
        if isinstance(event, Metrics) and event.step == 4:  # recorded after the look at the stop file
            (only_run(Path("stopped")) / "stop").touch()
            seen.append(only_run(Path("stopped")))

    with pytest.raises(Stopped, match="step 5"):
        regimen.run(spec(HERE / "hf" / "plain_trainer.py", data, log={"every": 4}, output="stopped"), listeners=[ask])
    assert regimen.load(seen[0]).status == "stopped"
    assert regimen.resume(seen[0]).status == "completed"
    assert fingerprint(seen[0]) == fingerprint(whole.folder)


@pytest.mark.parametrize("name", ["NotFinite", "HugeGradient"])
def test_what_is_not_finite_never_reaches_the_weights(data: str, name: str) -> None:
    with pytest.raises(Diverged, match="step 4") as caught:
        regimen.run(spec(odd(name), data, checkpoint={"every": 3}))
    assert caught.value.step == 4
    folder = only_run(Path("runs"))
    assert regimen.load(folder).status == "diverged"
    newest = Checkpoints(folder).newest()
    assert newest is not None
    assert newest.step == 3
    assert all(tensor.isfinite().all() for tensor in newest.state["state"]["weights"].values())


def test_the_budget_is_the_trainers_horizon(data: str) -> None:
    record = regimen.run(spec(odd("Plain"), data, budget={"epochs": 1.5}, evaluate={}))
    rates = curve(record, "train/lr")
    assert list(rates) == list(range(1, 13))  # 32 rows in batches of 4, one and a half times
    assert rates[1] == pytest.approx(1e-2)
    assert rates[12] == pytest.approx(1e-2 / 12)
    assert list(curve(record, "valid/loss")) == [0, 8, 12]


def test_a_budget_of_tokens_ends_the_run_and_keeps_the_trainers_schedule(data: str) -> None:
    record = regimen.run(spec(odd("Plain"), data, budget={"tokens": 200}))
    rates = curve(record, "train/lr")
    assert len(rates) == 4  # 4 rows of 16 tokens a step, some of them padding
    assert rates[2] == pytest.approx(1e-2 * 15 / 16)  # two epochs of its own
    assert list(curve(record, "time/tokens").values())[-2] < 200 <= curve(record, "time/tokens")[4]
    assert "neither steps nor epochs" in notes(record)


def test_evaluating_more_often_changes_nothing(data: str) -> None:
    seldom = regimen.run(spec(HERE / "hf" / "plain_trainer.py", data, evaluate={"every": 100}, output="a"))
    often = regimen.run(spec(HERE / "hf" / "plain_trainer.py", data, evaluate={"every": 1}, output="b"))
    assert curve(seldom, "train/loss") == curve(often, "train/loss")
    assert len(curve(often, "valid/loss")) == 13
    assert len(curve(seldom, "valid/loss")) == 2


def test_best_and_patience(data: str) -> None:
    wanted = {"every": 100, "best": "valid/loss", "mode": "max", "patience": 2}
    record = regimen.run(spec(odd("Plain"), data, checkpoint=wanted, evaluate={"every": 2}))
    losses = curve(record, "valid/loss")
    assert list(losses) == [0, 2, 4, 6]  # the largest loss is the first, and two evaluations later it stops
    assert record.final["valid/loss"] == losses[2]
    assert "checkpoint of step 2" in notes(record)


def test_stages_are_trained_in_turn_by_a_trainer_each(data: str) -> None:
    record = regimen.run(spec(odd("Stages"), data, budget={"epochs": 2}))
    assert list(curve(record, "train/loss")) == list(range(1, 17))
    assert curve(record, "train/lr")[8] < curve(record, "train/lr")[9]  # each has the whole schedule
    assert 8 in curve(record, "valid/loss")
    split = regimen.run(spec(odd("Stages"), data, budget={"steps": 6}, output="b"))
    assert list(curve(split, "train/loss")) == list(range(1, 7))


@pytest.mark.parametrize(("name", "said"), [("OwnLoop", "trainer of its own"), ("TrainedAlready", "a loop of its own")])
def test_a_loop_of_the_users_own(data: str, name: str, said: str) -> None:
    record = regimen.run(spec(odd(name), data))
    assert record.status == "completed"
    assert record.final["final/proof_base_difference"] > 0
    assert said in notes(record)


def test_something_that_cannot_train(data: str) -> None:
    with pytest.raises(StrategyFailed, match="create_trainer: returned int"):
        regimen.run(spec(odd("Nothing"), data))


def test_a_device_that_is_not_the_trainers(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import TrainingArguments

    monkeypatch.setattr(TrainingArguments, "device", property(lambda self: __import__("torch").device("cuda")))
    with pytest.raises((SpecError, StrategyFailed)):
        regimen.run(spec(odd("Plain"), data))


def test_nothing_of_the_trainers_own_is_written(data: str) -> None:
    record = regimen.run(spec(HERE / "hf" / "plain_trainer.py", data))
    suffixes = {path.suffix for path in record.folder.rglob("*") if path.is_file()}
    assert not suffixes & {".pt", ".pth", ".bin", ".pkl"}
    assert "bf16 is off" in notes(record)


def test_names_of_metrics() -> None:
    assert renamed({"reward": 1.0, "step_time": 0.1, "name": "x"}) == {"train/reward": 1.0, "time/step_time": 0.1}
    assert renamed({"eval_loss": 2.0, "epoch": 1.0}) == {"valid/loss": 2.0}


def test_of_a_dict_the_part_is_kept_that_can_be() -> None:
    assert storable({"a": [1, 2.0], "b": object(), "c": {"d": {"e": object()}}}) == {"a": [1, 2.0]}
