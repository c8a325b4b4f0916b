"""Runners: the loop of one's own, optimizers of every kind, and what a run of a test problem leaves."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import regimen
from regimen.benchmark import TestProblem
from regimen.errors import Diverged, Refused, SpecError, StrategyFailed
from regimen.handle import Run
from regimen.records.reader import Record, find_records
from regimen.spec import Budget, RunSettings
from regimen.tasks.analytic import QuadraticDeep

OWN_LOOP = '''
from regimen.benchmark import Runner

class Mine(Runner):
    """The usual loop, written out."""
    name = "mine"

    def training(self, testproblem, hyperparams, num_epochs, twice=False):
        optimizer = self.make_optimizer(testproblem, hyperparams)
        lists = [[] for _ in range(6)]
        for epoch in range(num_epochs + 1):
            self.evaluate_all(epoch, num_epochs, testproblem, *lists)
            if epoch == num_epochs:
                break
            testproblem.train_init_op()
            while True:
                try:
                    loss, _ = testproblem.get_batch_loss_and_accuracy()
                except StopIteration:
                    break
                optimizer.zero_grad()
                (2 * loss if twice else loss).backward()
                optimizer.step()
        names = ["train_losses", "valid_losses", "test_losses"]
        return dict(zip(names + ["train_accuracies", "valid_accuracies", "test_accuracies"], lists))
'''


def quadratic(strategy: Any = "standard", **more: Any) -> dict[str, Any]:
    optimizer = {"name": "sgd", "lr": 0.01}
    strategy = {"name": strategy, "optimizer": optimizer} if isinstance(strategy, str) else strategy
    return {"task": "quadratic_deep", "strategy": strategy, "budget": {"epochs": 2}, "threads": 1, **more}


def evaluations(record: Record) -> dict[str, list[tuple[int, float]]]:
    kept = {key: points for key, points in record.curves.items() if key.partition("/")[0] not in ("train", "time")}
    return {key: [(point.step, point.value) for point in points] for key, points in kept.items()}


def test_a_loop_of_ones_own_leaves_what_the_standard_runner_leaves() -> None:
    Path("mine.py").write_text(OWN_LOOP)
    ours = regimen.run(quadratic())
    mine = regimen.run(quadratic("./mine.py"))
    assert evaluations(mine) == evaluations(ours)
    assert set(evaluations(mine)) == {"train_eval/loss", "valid/loss", "test/loss"}
    assert [step for step, _ in evaluations(mine)["test/loss"]] == [0, 7, 14]
    assert mine.final == pytest.approx({k: v for k, v in ours.final.items() if k in mine.final})


def test_training_parameters_are_settings_from_the_signature() -> None:
    Path("mine.py").write_text(OWN_LOOP)
    strategy = {"name": "./mine.py", "optimizer": {"name": "sgd", "lr": 0.01}}
    once, twice = (regimen.run(quadratic({**strategy, "twice": value})) for value in (False, True))
    assert once.settings["strategy"]["twice"] is False
    assert once.final != twice.final
    with pytest.raises(SpecError, match=r"twic.*Did you mean.*twice"):
        regimen.run(quadratic({**strategy, "twic": True}))


def test_what_training_returns_is_checked() -> None:
    short = OWN_LOOP.replace("self.evaluate_all(epoch, num_epochs, testproblem, *lists)", "lists[2].append(1.0)")
    Path("mine.py").write_text(short.replace("if epoch == num_epochs:", "if epoch == num_epochs - 1:"))
    with pytest.raises(StrategyFailed, match="2 test_losses for 2 epochs; expected 3"):
        regimen.run(quadratic("./mine.py"))
    Path("mine.py").write_text(short.replace('"test_losses"', '"tain_losses"'))
    with pytest.raises(StrategyFailed, match="no test_losses"):
        regimen.run(quadratic("./mine.py"))


def test_metrics_that_the_loop_measured_itself_are_recorded() -> None:
    Path("mine.py").write_text(
        OWN_LOOP.replace("self.evaluate_all(epoch, num_epochs, testproblem, *lists)", "lists[2].append(5.0 - epoch)")
    )
    record = regimen.run(quadratic("./mine.py"))
    assert [(p.step, p.value) for p in record.curve("test/loss")] == [(0, 5.0), (7, 4.0), (14, 3.0)]


def test_a_loop_of_ones_own_counts_whole_epochs() -> None:
    Path("mine.py").write_text(OWN_LOOP)
    with pytest.raises(Refused, match=r"budget: is steps: 3; a loop of its own counts whole epochs"):
        regimen.run(quadratic("./mine.py", budget={"steps": 3}))


def test_the_problem_says_how_long_where_the_settings_do_not() -> None:
    description = quadratic()
    del description["budget"]
    from regimen.execute import prepare

    assert prepare(description).spec.budget == Budget(epochs=100)


# ------------------------------------------------------------------ optimizers


def test_weight_decay_of_the_optimizer_is_not_that_of_the_problem() -> None:
    adamw = {"name": "standard", "optimizer": {"name": "adamw", "lr": 0.1, "weight_decay": 0.5}}
    penalised = {"name": "quadratic_deep", "weight_decay": 0.5}
    plain = regimen.run(quadratic({**adamw, "optimizer": {"name": "adamw", "lr": 0.1, "weight_decay": 0.0}}))
    decayed = regimen.run(quadratic(adamw))
    of_problem = regimen.run(
        {**quadratic({"name": "standard", "optimizer": {"name": "sgd", "lr": 0.01}})} | {"task": penalised}
    )
    assert decayed.final["test/loss"] != plain.final["test/loss"]
    assert "penalty" not in decayed.curves
    assert of_problem.curve("penalty")[0].value == pytest.approx(0.25 * 100)  # f/2 |w|^2 with w = 1 in 100 dimensions
    assert of_problem.curve("test/loss")[0].value == plain.curve("test/loss")[0].value  # losses are without it


def test_an_optimizer_that_calls_the_loss_again_is_given_it() -> None:
    """L-BFGS on a quadratic needs few steps; every line it tries sees the same batch."""
    lbfgs = {"name": "standard", "optimizer": {"name": "lbfgs", "lr": 1.0, "max_iter": 20}}
    record = regimen.run(quadratic(lbfgs, budget={"steps": 3}))
    assert record.final["train_eval/loss"] < 95
    assert record.final["train_eval/loss"] < regimen.run(quadratic(budget={"steps": 3})).final["train_eval/loss"]


LOOKAHEAD = '''
import torch

class Lookahead(torch.optim.Optimizer):
    """Zhang et al., arXiv:1907.08610."""

    def __init__(self, base, k=5, alpha=0.5):
        self.base, self.k, self.alpha, self.calls = base, k, alpha, 0
        self.param_groups, self.defaults = base.param_groups, base.defaults
        self.slow = [p.detach().clone() for g in base.param_groups for p in g["params"]]

    def step(self, closure=None):
        self.base.step()
        self.calls += 1
        if self.calls % self.k == 0:
            for slow, fast in zip(self.slow, (p for g in self.param_groups for p in g["params"])):
                slow += self.alpha * (fast.detach() - slow)
                fast.data.copy_(slow)

    def zero_grad(self, set_to_none=True): self.base.zero_grad(set_to_none)
    def state_dict(self): return {"base": self.base.state_dict(), "slow": self.slow, "calls": self.calls}
    def load_state_dict(self, state):
        self.base.load_state_dict(state["base"])
        self.slow, self.calls = state["slow"], state["calls"]
'''


def test_a_hyperparameter_may_be_an_optimizer() -> None:
    Path("lookahead.py").write_text(LOOKAHEAD)
    optimizer = {"name": "./lookahead.py:Lookahead", "k": 2, "base": {"name": "sgd", "lr": 0.01, "momentum": 0.9}}
    record = regimen.run(quadratic({"name": "standard", "optimizer": optimizer}))
    assert record.final["test/loss"] < record.curve("test/loss")[0].value
    optimizer["base"] = {"name": "sgd", "lr": 0.01, "momentm": 0.9}
    with pytest.raises(SpecError, match=r"momentm.*momentum"):
        regimen.run(quadratic({"name": "standard", "optimizer": optimizer}))


SCHEDULE_FREE = '''
import torch

class Averaged(torch.optim.SGD):
    """Trains at one point and evaluates at the mean of all, as schedule-free methods do."""

    def __init__(self, params, lr=0.01):
        super().__init__(params, lr)
        self.mean = [p.detach().clone() for g in self.param_groups for p in g["params"]]
        self.calls, self.training = 0, True

    def _swap(self):
        for mean, p in zip(self.mean, (p for g in self.param_groups for p in g["params"])):
            kept = p.detach().clone()
            p.data.copy_(mean)
            mean.copy_(kept)

    def train(self):
        if not self.training: self._swap()
        self.training = True

    def eval(self):
        if self.training: self._swap()
        self.training = False

    def step(self, closure=None):
        assert self.training, "stepped in evaluation mode"
        super().step(closure)
        self.calls += 1
        for mean, p in zip(self.mean, (p for g in self.param_groups for p in g["params"])):
            mean += (p.detach() - mean) / (self.calls + 1)
'''


def test_an_optimizer_with_two_modes_is_told_which() -> None:
    Path("averaged.py").write_text(SCHEDULE_FREE)
    averaged = regimen.run(quadratic({"name": "standard", "optimizer": {"name": "./averaged.py:Averaged", "lr": 0.01}}))
    plain = regimen.run(quadratic())
    assert averaged.curve("train/loss")[-1] == plain.curve("train/loss")[-1]  # the same path
    assert averaged.final["valid/loss"] != plain.final["valid/loss"]  # looked at elsewhere


def test_a_factor_is_relative_to_the_base_rate() -> None:
    scheduled = {
        "name": "lr_schedule",
        "optimizer": {"name": "sgd", "lr": 0.01},
        "lr_sched_epochs": [1, 2],
        "lr_sched_factors": [0.1, 0.01],
    }
    record = regimen.run(quadratic(scheduled, budget={"epochs": 3}, log={"every": 1}))
    rates = [point.value for point in record.curve("train/lr")]
    assert rates == pytest.approx([0.01] * 7 + [0.001] * 7 + [0.0001] * 7)
    with pytest.raises(Refused, match="has 1 factors, and lr_sched_epochs has 2 epochs"):
        regimen.run(quadratic({**scheduled, "lr_sched_factors": [0.1]}))


# ------------------------------------------------------------------ honesty


def test_evaluating_more_often_changes_nothing() -> None:
    seldom = regimen.run(quadratic())
    often = regimen.run(quadratic(evaluate={"every": 1}))
    assert often.curve("train/loss") == seldom.curve("train/loss")
    assert often.final["test/loss"] == seldom.final["test/loss"]


def test_a_diverged_run_ends_there_and_invents_nothing() -> None:
    wild = {"name": "standard", "optimizer": {"name": "sgd", "lr": 1e4}}
    with pytest.raises(Diverged, match=r"step \d+: the loss is"):
        regimen.run(quadratic(wild, budget={"epochs": 50}))
    (record,) = find_records(Path("runs"))
    assert record.status == "diverged"
    assert record.final == {}
    assert len(record.curve("test/loss")) < 50
    assert all(math.isfinite(point.value) for points in record.curves.values() for point in points)


def test_a_run_of_many_batches_reads_every_row_once() -> None:
    problem = live()
    problem.test_init_op()
    sizes = []
    while True:
        try:
            losses, _ = problem.get_batch_loss_and_accuracy(reduction="none")
        except StopIteration:
            break
        sizes.append(len(losses))
    assert sum(sizes) == 1000
    assert sizes[-1] == 1000 % 128


# ------------------------------------------------------------------ the live test problem


def live(**settings: Any) -> TestProblem:
    problem = QuadraticDeep()
    for name, value in settings.items():
        setattr(problem, name, value)
    made = TestProblem(problem, Run.unrecorded(Path(), RunSettings(seed=1)))
    made.set_up()
    return made


def test_the_hessian_and_the_data_are_those_of_the_published_results() -> None:
    """353.44676426 is entry 0 of every published file; they leave out a last short batch."""
    one, two = live(), live()
    assert torch.equal(one.net.hessian, two.net.hessian)
    with torch.no_grad():
        assert float(one.net(one.data.test.inputs[:896]).mean()) == pytest.approx(353.44676426, rel=1e-6)


def test_the_forward_function_sees_the_same_batch_again() -> None:
    problem = live()
    problem.train_init_op()
    (loss, accuracy), forward = problem.get_batch_loss_and_accuracy(return_forward_func=True)
    assert accuracy == 0.0
    assert float(forward()[0]) == float(loss)
    loss.backward()
    with torch.no_grad():
        problem.net.theta -= 0.01 * problem.net.theta.grad
    assert float(forward()[0]) < float(loss)


def test_the_penalty_is_in_the_training_loss_and_in_no_other() -> None:
    problem = live(weight_decay=0.5)
    assert sorted(problem.regularization_groups) == [0.0, 0.5]
    assert float(problem.get_regularization_loss()) == pytest.approx(25.0)
    problem.train_init_op()
    loss, _ = problem.get_batch_loss_and_accuracy()
    bare = live()
    bare.train_init_op()
    assert float(loss) == pytest.approx(float(bare.get_batch_loss_and_accuracy()[0]) + 25.0)
    assert problem.measure("valid") == bare.measure("valid")


@pytest.mark.parametrize(
    ("strategy", "more", "said"),
    [
        (
            "standard",
            {"evaluate": {"max_rows": 5}},
            "evaluate.max_rows: is 5, and a test problem is evaluated on all rows",
        ),
        ("./mine.py", {"evaluate": {"every": 5}}, "evaluate.every: is 5, and a loop of its own decides that itself"),
        ("./mine.py", {"precision": "bf16"}, "precision: is bf16, and a loop of its own"),
        (
            "./mine.py",
            {"checkpoint": {"best": "valid/loss"}},
            "checkpoint.best: is 'valid/loss', and a loop of its own",
        ),
    ],
)
def test_what_would_have_no_effect_is_refused(strategy: str, more: dict[str, Any], said: str) -> None:
    Path("mine.py").write_text(OWN_LOOP)
    with pytest.raises(Refused, match=re.escape(said)):
        regimen.run(quadratic(strategy, **more))


def test_a_problem_of_ones_own_may_say_all_in_one_line() -> None:
    """`name, num_epochs, num_parameters = ...`, as the documentation does."""
    Path("tasks").mkdir()
    Path("tasks/line.py").write_text(PROBLEM)
    record = regimen.run(quadratic() | {"task": "line"})
    assert record.settings["task"]["name"] == "line"
    assert record.final["test/loss"] < record.curve("test/loss")[0].value
    Path("tasks/line.py").write_text(PROBLEM.replace("3, 2, 8", "3, 5, 8"))
    with pytest.raises(StrategyFailed, match=r"its net has 2 parameters, and num_parameters says 5"):
        regimen.run(quadratic() | {"task": "line"})


PROBLEM = '''
import torch
from regimen.benchmark import Examples, Problem, Splits

def rows(number):
    x = torch.linspace(-1, 1, number)[:, None]
    return Examples(x, 2 * x + 1)

class Line(Problem):
    """A straight line through points."""
    name, num_epochs, num_parameters, batch_size = "line", 3, 2, 8

    def read(self): return Splits.made(rows(40), rows(10), valid_rows=8)
    def make_net(self): return torch.nn.Linear(1, 1)
    def losses(self, outputs, batch): return (outputs - batch.targets).square().mean(dim=1)
    def hits(self, outputs, batch): return None
'''


def test_threads_are_those_of_the_settings_and_the_caller_keeps_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = TestProblem.set_up
    monkeypatch.setattr(TestProblem, "set_up", lambda self: (seen.append(torch.get_num_threads()), original(self))[1])
    before = torch.get_num_threads()
    regimen.run(quadratic(threads=2))
    assert seen == [2]
    assert torch.get_num_threads() == before
