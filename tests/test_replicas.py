"""Runs that are trained at once leave what they leave one by one; and what cannot be trained so is not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import regimen
from regimen.benchmark.calibration import Candidate, calibrate, why_not_batched
from regimen.errors import Diverged, Stopped
from regimen.execute import prepare
from regimen.records.reader import Record
from regimen.study.replicas import Outcome, run_together
from regimen.study.report import StudyReport
from regimen.study.tuning import tune
from regimen.study.warmprocess import WarmProcess


def spec(
    task: Any = "quadratic_deep", *, lr: float = 0.01, seed: int = 0, epochs: int = 2, **more: Any
) -> dict[str, Any]:
    strategy = {"name": "standard", "optimizer": {"name": "sgd", "lr": lr, **more.pop("optimizer", {})}}
    return {
        "task": task,
        "strategy": strategy,
        "budget": {"epochs": epochs},
        "seed": seed,
        "threads": 1,
        "output": "together",
        **more,
    }


def together(specs: Sequence[dict[str, Any]]) -> list[Outcome]:
    """Trained at once however long it takes: time is no matter of these tests."""
    found = run_together([prepare(each) for each in specs], measured=False)
    return [found[place] for place in range(len(specs))]


def alone(one: dict[str, Any]) -> Record:
    try:
        return regimen.run({**one, "output": f"alone/{one['seed']}-{one['strategy']['optimizer']['lr']}"})
    except Diverged:
        (path,) = Path(f"alone/{one['seed']}-{one['strategy']['optimizer']['lr']}").rglob("status.json")
        return regimen.load(path.parent)


def numbers(record: Record) -> dict[tuple[str, int], float]:
    """Everything recorded but times."""
    curves = {name: points for name, points in record.curves.items() if not name.startswith("time/")}
    return {(name, point.step): point.value for name, points in curves.items() for point in points}


def assert_alike(record: Record, expected: Record, rel: float = 1e-4) -> None:
    assert record.status == expected.status
    found, wanted = numbers(record), numbers(expected)
    assert list(found) == list(wanted)
    assert found == pytest.approx(wanted, rel=rel, abs=1e-6)
    state = {key: expected.state.get(key) for key in ("step", "epochs", "exit_code", "message")}
    assert {key: record.state.get(key) for key in state} == state
    assert (record.final or {}) == pytest.approx(expected.final or {}, rel=rel)
    assert record.content == expected.content
    assert [path.name for path in record.checkpoints] == [path.name for path in expected.checkpoints]


@pytest.mark.parametrize(
    ("task", "optimizer"),
    [
        ("quadratic_deep", {"momentum": 0.9}),
        ("digits_mlp", {}),
        ("digits_mlp", {"name": "adam"}),
        ({"name": "digits_cnn", "weight_decay": 0.01}, {}),
        ("two_d_branin", {"name": "rmsprop", "alpha": 0.9}),
    ],
    ids=str,
)
def test_runs_at_once_leave_what_they_leave_one_by_one(task: Any, optimizer: dict[str, Any]) -> None:
    budget = {"epochs": 3} if task == "quadratic_deep" else {"steps": 12}
    more: dict[str, Any] = {"optimizer": optimizer, "budget": budget, "checkpoint": {"every": 5}, "log": {"every": 3}}
    specs = [spec(task, lr=lr, seed=seed, **more) for lr in (0.01, 0.001, 0.003) for seed in (1, 2)]
    outcomes, expected = together(specs), [alone(one) for one in specs]
    for outcome, one in zip(outcomes, expected, strict=True):
        assert outcome.error is None
        assert_alike(outcome.record, one)
        assert "trained at once with 5 others: 3 steps of 6 runs took" in outcome.record.notes[0]
    ranks = [
        sorted(range(6), key=lambda i: records[i].final["valid/loss"])
        for records in ([o.record for o in outcomes], expected)
    ]
    assert ranks[0] == ranks[1]


def test_those_that_diverge_end_where_they_would_and_the_others_go_on() -> None:
    specs = [spec(lr=lr, epochs=12) for lr in (0.01, 3.0, 1.0, 0.3, 0.02, 1e25)]
    outcomes = together(specs)
    assert [outcome.record.status for outcome in outcomes] == ["completed", *["diverged"] * 3, "completed", "diverged"]
    assert len({outcome.record.state["step"] for outcome in outcomes}) == 5
    assert all("trained at once with 5 others" in outcome.record.notes[0] for outcome in outcomes)
    for outcome, one in zip(outcomes, specs, strict=True):
        assert_alike(outcome.record, alone(one), rel=1e-3)
        assert isinstance(outcome.error, Diverged) == (outcome.record.status == "diverged")


def test_a_schedule_is_followed_by_each() -> None:
    """To the middle of an epoch."""
    specs = [spec(lr=lr, budget={"steps": 10}) for lr in (0.01, 0.02)]
    specs[0]["strategy"] |= {"name": "lr_schedule", "lr_sched_epochs": [1], "lr_sched_factors": [0.1]}
    for outcome, one in zip(together(specs), specs, strict=True):
        assert_alike(outcome.record, alone(one))


STOPPING = '''
from pathlib import Path
from regimen.tasks.analytic import QuadraticDeep

class Stopping(QuadraticDeep):
    """Asks one run to stop, once, as soon as its checkpoint of step 7 is there, as `regimen stop` would."""
    name, num_epochs, num_parameters = "stopping", 4, 100

    def hits(self, outputs, batch):
        for checkpoint in Path("together").rglob("*2e-02*/*/checkpoints/step-7"):
            if not Path("asked").exists():
                (checkpoint.parent.parent / "stop").touch()
                Path("asked").touch()
'''


def test_one_that_is_asked_to_stop_saves_and_goes_on_later_by_itself() -> None:
    Path("stopping.py").write_text(STOPPING)
    specs = [spec("./stopping.py", lr=lr, epochs=4, checkpoint={"every": 7}) for lr in (0.02, 0.03)]
    outcomes = together(specs)
    assert isinstance(outcomes[0].error, Stopped)
    stopped, went_on = (outcome.record for outcome in outcomes)
    assert (stopped.status, went_on.status) == ("stopped", "completed")
    record = regimen.resume(stopped.folder)
    assert record.resumes == [stopped.state["step"]]
    for found, one in zip((record, went_on), specs, strict=True):
        assert numbers(found) == pytest.approx(numbers(alone(one)), rel=1e-4)


@settings(max_examples=4, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    rates=st.lists(st.floats(1e-4, 0.5), min_size=2, max_size=5, unique=True),
    seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=2, unique=True),
)
def test_any_rates_and_seeds_agree(rates: list[float], seeds: list[int]) -> None:
    runs = [prepare(spec("digits_logreg", lr=lr, seed=seed)) for lr in rates for seed in seeds]
    problem: Any = runs[0].task
    found = calibrate(problem, [Candidate(run.spec, run.strategy) for run in runs], margin=0.0)  # type: ignore[arg-type]
    assert found.together == tuple(range(len(runs)))
    assert found.difference < 1e-6
    assert min(found.together_s, found.alone_s) > 0


# ------------------------------------------------------------------ what is trained by itself


BATCH_NORM = '''
import torch
from torch import nn
from regimen.benchmark import Examples, Problem, Splits

class Normalised(Problem):
    """Batch normalisation, whose running statistics are part of the result."""
    name, num_epochs, num_parameters, batch_size = "normalised", 2, 4 * 8 + 8 + 2 * 8 + 8 * 2 + 2, 16

    def read(self):
        x = torch.randn(160, 4, generator=torch.Generator().manual_seed(0))
        rows = Examples(x, (x[:, 0] > 0).long())
        return Splits.made(rows, rows, valid_rows=32)

    def make_net(self):
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
'''


def test_running_statistics_are_each_ones_own() -> None:
    Path("normalised.py").write_text(BATCH_NORM)
    specs = [spec("./normalised.py", lr=lr, seed=seed) for lr in (0.1, 0.01) for seed in (1, 2)]
    for outcome, one in zip(together(specs), specs, strict=True):
        assert_alike(outcome.record, alone(one))
        assert "trained at once" in outcome.record.notes[0]


CHOOSING = BATCH_NORM.replace(
    "    def make_net",
    """    def losses(self, outputs, batch):
        losses = super().losses(outputs, batch)
        return losses * 2 if losses.mean() > 0.5 else losses

    def make_net""",
)
REBINDING = '''
import torch

class Rebinding(torch.optim.Optimizer):
    """Gives each parameter other memory instead of changing it in place."""
    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = p.data - group["lr"] * p.grad
'''


def test_what_calibration_finds_different_is_trained_by_itself() -> None:
    Path("rebinding.py").write_text(REBINDING)
    specs = [spec(lr=lr, optimizer={"name": "./rebinding.py:Rebinding"}) for lr in (0.01, 0.02)] + [
        spec(lr=lr) for lr in (0.01, 0.02)
    ]
    outcomes = together(specs)
    for outcome in outcomes[:2]:
        assert "trained by itself: its weights differ by" in outcome.record.notes[0]
    for outcome in outcomes[2:]:
        assert "trained at once with another run" in outcome.record.notes[0]
    for outcome, one in zip(outcomes, specs, strict=True):
        assert outcome.record.final == pytest.approx(alone(one).final, rel=1e-5)


def test_a_loss_that_looks_at_its_value_is_trained_by_itself() -> None:
    Path("choosing.py").write_text(CHOOSING)
    outcomes = together([spec("./choosing.py", seed=seed) for seed in (1, 2)])
    assert [outcome.record.status for outcome in outcomes] == ["completed"] * 2
    assert "trained by itself: its step cannot be vmapped" in outcomes[0].record.notes[0]


def test_what_is_not_faster_is_trained_by_itself_and_says_how_slow() -> None:
    runs = [prepare(spec(seed=seed)) for seed in (1, 2)]
    problem: Any = runs[0].task
    found = calibrate(problem, [Candidate(run.spec, run.strategy) for run in runs], margin=math.inf)  # type: ignore[arg-type]
    assert found.together == ()
    assert "times as fast, and inf is asked for (3 steps of 2 runs took" in found.note(0)


def test_a_short_run_is_not_worth_a_calibration() -> None:
    found = run_together([prepare(spec(seed=seed)) for seed in (1, 2)])
    for outcome in found.values():
        assert outcome.record.notes == ["trained by itself: 14 steps are over before a calibration pays."]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "digits_vae"}, "digits_vae draws random numbers in a step"),
        ({"budget": {"seconds": 1}}, "the budget is in seconds"),
        ({"strategy": {"name": "standard", "optimizer": {"name": "lbfgs"}}}, "lbfgs asks for the loss again"),
    ],
    ids=["sampling", "seconds", "closure"],
)
def test_why_not(changes: dict[str, Any], reason: str) -> None:
    runs = [prepare({**spec(seed=seed), **changes}) for seed in (1, 2)]
    problem: Any = runs[0].task
    found = why_not_batched(problem, [run.spec for run in runs])
    assert found is not None
    assert reason in found


def test_runs_that_differ_in_more_than_settings_of_the_optimizer_are_not_alike() -> None:
    runs = [prepare(spec()), prepare({**spec(), "task": {"name": "quadratic_deep", "batch_size": 64}})]
    problem: Any = runs[0].task
    assert why_not_batched(problem, [run.spec for run in runs]) == "task.batch_size differs"
    assert why_not_batched(problem, [runs[0].spec]) == "there is no other run of its kind"


def test_a_loop_of_ones_own_is_trained_by_itself() -> None:
    Path("mine.py").write_text(
        "from regimen.benchmark.runner import Runner\n\n\nclass Mine(Runner):\n    name = 'mine'\n\n"
        "    def training(self, testproblem, hyperparams, num_epochs):\n"
        "        return {'test_losses': [1.0, 2.0, 3.0]}\n"
    )
    specs = [spec(seed=seed) | {"strategy": {"name": "./mine.py"}} for seed in (1, 2)]
    for outcome in together(specs):
        assert outcome.record.status == "completed"
        assert outcome.record.notes == ["trained by itself: mine has a loop of its own."]


# ------------------------------------------------------------------ in a study

VMAPPED = '''
import os
import signal
from pathlib import Path
import torch
from regimen.tasks.analytic import QuadraticDeep

class Vmapped(QuadraticDeep):
    """Sends a signal to its process where several runs are trained at once and recorded."""
    name, num_epochs, num_parameters = "vmapped", 30, 100

    def losses(self, outputs, batch):
        if torch._C._functorch.is_functorch_wrapped_tensor(outputs) and list(Path().rglob("events.jsonl")):
            os.kill(os.getpid(), signal.SIGNAL)
        return outputs
'''


def study(output: str, task: Any, replicas: Any, points: int, epochs: int) -> StudyReport:
    space = {"strategy.optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True, "points": points}}
    settings = {"space": space, "rerun_seeds": [], "processes": 1, "replicas": replicas}
    strategy = {"name": "standard", "optimizer": "sgd"}
    return tune(
        {"task": task, "strategy": strategy, "budget": {"epochs": epochs}, "tune": settings, "output": output},
        warm=WARM,
    )


WARM = WarmProcess()


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    WARM.close()


@pytest.mark.parametrize(("task", "points", "epochs"), [("quadratic_deep", 12, 29), ("digits_mlp", 6, 6)])
def test_a_study_finds_the_same_with_and_without(task: str, points: int, epochs: int) -> None:
    off, auto = (study(replicas, task, replicas, points, epochs).tasks[0] for replicas in ("off", "auto"))
    assert [each.number for each in auto.standings] == [each.number for each in off.standings]
    for one, other in zip(auto.standings, off.standings, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-4)
    records = [regimen.load(path.parent) for path in Path("auto").rglob("spec.yaml")]
    assert len(records) == points
    assert all(f"3 steps of {points} runs took" in record.notes[0] for record in records)


def test_runs_whose_process_dies_together_are_done_one_by_one() -> None:
    Path("vmapped.py").write_text(VMAPPED.replace("SIGNAL", "SIGKILL"))
    report = study("killed", "./vmapped.py", "auto", 12, 30)
    assert report.tasks[0].statuses == {"completed": 12}
    records = [regimen.load(path.parent) for path in Path("killed").rglob("spec.yaml")]
    assert [record.status for record in records] == ["completed"] * 12
    assert all(record.resumes == [0] or "trained by itself" in record.notes[0] for record in records)


def test_asked_to_stop_they_all_save_and_those_that_wait_do_not_begin() -> None:
    Path("vmapped.py").write_text(VMAPPED.replace("SIGNAL", "SIGTERM"))
    runs = [prepare(spec("./vmapped.py", lr=lr, epochs=3)) for lr in (0.01, 0.02, 0.03, 0.04)]
    found = run_together(runs, most=2, measured=False)
    assert len(found) == 2
    for outcome in found.values():
        assert isinstance(outcome.error, Stopped)
        assert outcome.record.status == "stopped"
        assert [path.name for path in outcome.record.checkpoints] == [f"step-{outcome.record.state['step']}"]
