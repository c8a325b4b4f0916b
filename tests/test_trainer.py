"""The one loop, through runs of a tiny model: what a step is, when it ends, and what stops it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import regimen
from regimen.checkpoint import Checkpoints, read, tensors_of
from regimen.errors import Diverged, Refused, StrategyFailed
from regimen.execute import resume, run
from regimen.records.reader import load
from tiny_runs import (
    BROKEN,
    FULL,
    RANDOM,
    broken,
    everything,
    only_run,
    spec,
    text_task,
    weights,
    write_rows,
)
from warm import Warm

# ---------------------------------------------------------------------------------------------------- what a step is


def test_eight_rows_are_one_step_however_they_are_cut(tmp_path: Path) -> None:
    """The mean is over all tokens of the step: rows have different lengths, so means of means would differ."""
    write_rows("train.jsonl", 8)
    write_rows("valid.jsonl", 12, first=8)
    task = {"name": "text", "data": {"train": "train.jsonl", "valid": "valid.jsonl"}, "samples": 0}
    sgd = {**FULL, "optimizer": {"name": "sgd", "lr": 0.1}}  # whose update is as long as its gradient
    made = [
        run(
            spec(
                {**sgd, "batch_size": size, "accumulate": 8 // size}, task=task, budget={"steps": 3}, output=f"b{size}"
            )
        )
        for size in (8, 2, 1)
    ]
    for other in made[1:]:
        for ours, theirs in zip(weights(made[0]), weights(other), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        for ours_at, theirs_at in zip(made[0].curve("train/loss"), other.curve("train/loss"), strict=True):
            assert ours_at.value == pytest.approx(theirs_at.value, rel=1e-5)
        for ours_at, theirs_at in zip(made[0].curve("train/grad_norm"), other.curve("train/grad_norm"), strict=True):
            assert ours_at.value == pytest.approx(theirs_at.value, rel=1e-4)


def test_workers_change_nothing(tmp_path: Path) -> None:
    Path("random.py").write_text(RANDOM)
    strategy = {**FULL, "name": "./random.py", "tuning": {"name": "lora", "r": 2, "dropout": 0.2}}
    none, two = (run(spec(strategy, workers=workers, output=f"w{workers}")) for workers in (0, 2))
    assert everything(none) == everything(two)


def test_evaluating_more_often_changes_no_weight(tmp_path: Path) -> None:
    strategy = {**FULL, "tuning": {"name": "lora", "r": 2, "dropout": 0.2}}
    seldom, often = (run(spec(strategy, evaluate={"every": n}, output=f"e{n}")) for n in (100, 1))
    assert [t.tolist() for t in weights(seldom)] == [t.tolist() for t in weights(often)]
    assert seldom.curve("train/loss") == often.curve("train/loss")
    assert len(often.curve("valid/loss")) == 7
    assert len(seldom.curve("valid/loss")) == 2


def test_logging_seldom_records_means_of_all_steps(tmp_path: Path) -> None:
    each, third = (run(spec(log={"every": n}, output=f"l{n}")) for n in (1, 3))
    values = [point.value for point in each.curve("train/loss")]
    assert [p.step for p in third.curve("train/loss")] == [3, 6]
    assert third.curve("train/loss")[0].value == pytest.approx(sum(values[:3]) / 3, rel=1e-6)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ({"name": "constant", "warmup": 0}, [1, 1, 1, 1, 1, 1]),
        ({"name": "linear", "warmup": 2}, [1 / 2, 1, 1, 3 / 4, 1 / 2, 1 / 4]),
        (
            {"name": "cosine", "warmup": 0, "floor": 0.5},
            [0.5 + 0.25 * (1 + math.cos(math.pi * k / 6)) for k in range(6)],
        ),
    ],
)
def test_the_schedule_follows_the_budget(schedule: dict[str, Any], factors: list[float], tmp_path: Path) -> None:
    record = run(spec({**FULL, "schedule": schedule}))
    assert [point.value / 1e-3 for point in record.curve("train/lr")] == pytest.approx(factors, rel=1e-6)


def test_half_precision_trains(tmp_path: Path) -> None:
    full, half = (run(spec(precision=name, output=name)) for name in ("fp32", "bf16"))
    assert half.final["valid/loss"] == pytest.approx(full.final["valid/loss"], rel=0.02)
    assert half.curve("train/loss") != full.curve("train/loss")
    assert all(tensor.dtype == torch.float32 for tensor in weights(half))


# ---------------------------------------------------------------------------------------------------- when it ends


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        ({"steps": 3}, 3),
        ({"epochs": 0.5}, 3),
        ({"epochs": 1.5}, 9),
        ({"passes": 5}, 3),
        ({"tokens": 1000}, 3),
        ({"epochs": 4, "steps": 50, "passes": 2}, 1),
    ],
)
def test_a_budget_ends_the_run(budget: dict[str, float], steps: int, tmp_path: Path) -> None:
    """96 rows of 26 tokens, 16 rows a step in two passes: 6 steps, 12 passes, 2,496 tokens an epoch."""
    record = run(spec({**FULL, "accumulate": 2}, budget=budget))
    assert (record.status, record.state["step"]) == ("completed", steps)
    assert record.curve("time/fraction")[-1].value == 1.0
    assert record.curve("time/tokens")[-1].value == steps * 16 * 26
    assert record.curve("valid/loss")[-1].step == steps


def test_a_budget_of_seconds_ends_the_run(tmp_path: Path) -> None:
    record = run(spec(budget={"seconds": 0.3}))
    assert record.status == "completed"
    last = Checkpoints(record.folder).newest()  # the last recorded point may be a moment before the clock ran out
    assert last is not None
    assert last.state["run"]["seconds"] >= 0.3
    assert record.state["step"] < 1000


def test_early_stopping_leaves_the_best_weights(tmp_path: Path) -> None:
    """By `max`, the loss is best at the first evaluation: two more without a better one, and it ends."""
    settings = {"best": "valid/loss", "mode": "max", "patience": 2, "keep": 1}
    record = run(spec(evaluate={"every": 2}, checkpoint=settings, budget={"steps": 50}))
    assert (record.status, record.state["step"]) == ("completed", 6)
    assert record.final["valid/loss"] == dict(record.curve("valid/loss"))[2]
    assert any("the result is the checkpoint of step 2, the best by valid/loss" in note for note in record.notes)
    best = Checkpoints(record.folder).best()
    assert best is not None
    assert best.step == 2
    from safetensors.torch import load_file

    (model,) = record.folder.glob("artifacts/model/*.safetensors")
    left, kept = load_file(model), best.state["state"]["weights"]
    assert all(torch.equal(left[name], kept[name]) for name in left if name in kept)


def test_best_needs_evaluations_and_a_known_metric(tmp_path: Path) -> None:
    task = text_task()
    nothing = {**task, "data": {"train": "train.jsonl", "eval_split": 0}}
    with pytest.raises(Refused, match=r"the task has no valid rows; it has train"):
        run(spec(task=nothing, checkpoint={"best": "valid/loss", "patience": 1}))
    with pytest.raises(Refused, match=r"is 'valid/los', which is not evaluated. Did you mean 'valid/loss'\?"):
        run(spec(checkpoint={"best": "valid/los"}, output="other"))
    assert load(only_run(Path("other"))).status == "refused"


# ---------------------------------------------------------------------------------------------------- what stops it


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as raised:
        run(spec(broken(bad_call=5), checkpoint={"every": 2}))
    assert (raised.value.exit_code, raised.value.step) == (4, 5)
    assert str(raised.value).startswith("step 5: the loss is nan")
    record = load(only_run())
    assert (record.status, record.state["exit_code"], record.state["step"]) == ("diverged", 4, 4)
    good = run(spec(broken(), checkpoint={"every": 2}, output="good"))
    last, same = Checkpoints(record.folder).paths()[-1], Checkpoints(good.folder).paths()[-2]
    assert last.name == same.name == "step-4"
    ours, theirs = (list(tensors_of(read(path).state["state"])) for path in (last, same))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as raised:
        run(spec(broken(bad_row=10, batch_size=4), task=text_task()))
    assert "the loss is nan on " in str(raised.value)
    assert "train.jsonl:11." in str(raised.value)
    assert str(raised.value).count("train.jsonl") == 1


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as raised:
        run(spec(broken(bad_row=10, batch_size=4, in_gradient=True), task=text_task()))
    assert "the norm of the gradient is nan (the loss is " in str(raised.value)
    assert "train.jsonl:11" in str(raised.value)


def test_a_diverged_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    """The loss is not finite at the fifth call of a process; the resumed one has fewer calls left than that."""
    with pytest.raises(Diverged):
        run(spec(broken(bad_call=5), checkpoint={"every": 2}))
    record = resume(only_run())
    assert (record.status, record.resumes, record.state["step"]) == ("completed", [4], 6)


def test_an_exception_in_a_strategy_names_its_line(tmp_path: Path, warm: Warm) -> None:
    Path("run.yaml").write_text(yaml.safe_dump(spec(broken(bad_call=3, fail=True))))
    line = 1 + BROKEN[: BROKEN.index("raise ValueError")].count("\n")
    ended = warm.run("run", "run.yaml", "--quiet")
    assert ended.code == 1
    (told,) = [text for text in ended.err.splitlines() if text.startswith("regimen: ")]
    assert f"broken.py:{line}: ValueError: the frobnicator is empty. The traceback is in the run's log.txt." in told
    assert "Traceback" not in ended.err
    record = load(only_run())
    assert (record.status, record.state["exit_code"]) == ("failed", 1)
    assert "Traceback" in (record.folder / "log.txt").read_text()
    shown = warm.run("--traceback", "run", "run.yaml", "--quiet", "--set", "output=shown")
    assert (shown.code, "Traceback" in shown.err) == (1, True)
    with pytest.raises(StrategyFailed):
        run(spec(broken(bad_call=3, fail=True), output="other"))


PLAIN = '''
from regimen import Loss
from regimen.finetune import TrainingStrategy

class Plain(TrainingStrategy):
    """The model's own loss, as a transformers user writes it."""
    name = "plain"

    def compute_loss(self, model, batch):
        count = batch.targets.token_N.numel()
        return Loss(model(**batch).loss * count, count)
'''


@pytest.mark.parametrize("packing", [False, True])
def test_the_models_own_loss_is_that_of_sft_also_where_rows_are_packed(packing: bool) -> None:
    Path("plain.py").write_text(PLAIN)
    task = {"name": "sorting", "train_rows": 32, "valid_rows": 4, "metrics": [], "samples": 0}
    records = [
        regimen.run(
            {
                "task": task,
                "strategy": {"name": name, "tuning": "full", "packing": packing, "max_length": 64, "batch_size": 4},
                "budget": {"steps": 4},
                "log": {"every": 1},
                "output": "runs",
            }
        )
        for name in ("sft", "./plain.py")
    ]
    ours, theirs = ([point.value for point in record.curve("train/loss")] for record in records)
    assert ours == pytest.approx(theirs, rel=1e-5)
