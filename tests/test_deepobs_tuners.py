"""DeepOBS' tuners by their names: what they try, choose and write, and the published defects that they do not have."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regimen.benchmark.files import read_results
from regimen.deepobs.runners import LearningRateScheduleRunner, StandardRunner
from regimen.deepobs.tuner_utils import create_tuning_ranking, generate_tuning_summary, log_uniform, rerun_setting
from regimen.deepobs.tuners import GP, GridSearch, RandomSearch
from regimen.errors import SpecError

SGD = torch.optim.SGD
SPECIFIED: dict[str, Any] = {
    "lr": {"type": float},
    "momentum": {"type": float, "default": 0.0},
    "nesterov": {"type": bool, "default": False},
}


def grid(**values: Any) -> GridSearch:
    return GridSearch(SGD, SPECIFIED, values, ressources=6, runner=StandardRunner)


def test_a_grid_is_tuned_rerun_and_written_as_deepobs_does(capsys: pytest.CaptureFixture[str]) -> None:
    report = grid(lr=[1e-3, 1e-2]).tune("quadratic_deep", num_epochs=2, rerun_best_setting=True)
    best = report.tasks[0].best
    assert best is not None
    assert best.setting == {"strategy.optimizer.lr": 1e-2}
    settings = read_results("results").settings
    assert {(s.optimizer_name, s.hyperparams["lr"], s.seeds) for s in settings} == {
        ("SGD", 1e-3, (42,)),
        ("SGD", 1e-2, tuple(range(42, 52))),
    }
    before = sorted(Path("results").rglob("*.json"))
    grid(lr=[1e-3, 1e-2]).tune("quadratic_deep", num_epochs=2, rerun_best_setting=True)
    assert sorted(Path("results").rglob("*.json")) == before, "a run was written or made twice"
    # By hand, with seeds of one's own: the same folder, since everything else is as it was.
    outputs = rerun_setting(StandardRunner, SGD, SPECIFIED, "results/quadratic_deep/SGD", seeds=[60], rank=2)
    assert outputs[0]["optimizer_hyperparams"]["lr"] == 1e-3
    assert {s.seeds for s in read_results("results").settings} == {(42, 60), tuple(range(42, 52))}
    with pytest.raises(SpecError, match="has 42, with which this setting was trained already"):
        rerun_setting(StandardRunner, SGD, SPECIFIED, "results/quadratic_deep/SGD", seeds=[42])


def test_a_ranking_has_no_numbers_of_diverged_runs() -> None:
    runner = StandardRunner(SGD, SPECIFIED)
    runner.run("quadratic_deep", {"lr": 1e-2}, num_epochs=1, parse_cli=False)
    with pytest.warns(RuntimeWarning, match="the loss is nan"):
        runner.run("quadratic_deep", {"lr": 1e9}, num_epochs=1, parse_cli=False)
    path = Path("results/quadratic_deep/SGD")
    assert [each.setting.hyperparams["lr"] for each in create_tuning_ranking(path, "best", "test_losses")] == [
        1e-2,
        1e9,
    ]
    lines = generate_tuning_summary(path, aggregated=True, mode="best").read_text().splitlines()
    first, second = (json.loads(line)[1]["best_valid_losses"] for line in lines)
    assert first["mean"] < 354  # the best epoch, not the worst
    assert first["std"] is None  # of one seed; it was the mean in DeepOBS
    assert second == {"mean": None, "std": None}
    with pytest.raises(SpecError, match="mode"):
        create_tuning_ranking(path, "finale")


def test_commands_are_quoted_and_say_no() -> None:
    search = GridSearch(
        SGD, SPECIFIED, {"lr": [1e-05], "nesterov": [True, False]}, ressources=2, runner=LearningRateScheduleRunner
    )
    path = search.generate_commands_script(
        "quadratic_deep", "run.py", "my results", num_epochs=3, lr_sched_epochs=[1, 2], lr_sched_factors=[0.1, 0.01]
    )
    assert Path(path) == Path("command_scripts/jobs_SGD_grid_search_quadratic_deep.txt")
    yes, no = (shlex.split(line) for line in Path(path).read_text().splitlines())
    assert yes[:6] == ["python3", "run.py", "quadratic_deep", "--lr", "1e-05", "--nesterov"]
    assert no[5] == "--no-nesterov"
    assert yes[6:10] == ["--random_seed", "42", "--output_dir", "my results"]
    assert yes[10:] == ["--num_epochs", "3", "--lr_sched_epochs", "1", "2", "--lr_sched_factors", "0.1", "0.01"]
    assert len(search.generate_commands_script_for_testset(["b", "a"], "run.py")) == 2


def test_random_search_draws_the_same_for_a_seed_and_leaves_the_generator_alone() -> None:
    search = RandomSearch(SGD, SPECIFIED, {"lr": log_uniform(-5, 2)}, ressources=20)
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    drawn = search._drawn(42)
    assert np.random.random() == expected
    assert drawn == search._drawn(42) != search._drawn(43)
    assert all(1e-5 <= sample["lr"] <= 1e2 and type(sample["lr"]) is float for sample in drawn)


def test_gp_chooses_by_validation() -> None:
    pytest.importorskip("optuna")
    search = GP(
        SGD, SPECIFIED, {"lr": (-4, -1)}, ressources=3, runner="StandardRunner", transformations={"lr": lambda x: 10**x}
    )
    with pytest.warns(RuntimeWarning, match="kernel: no effect here"):
        report = search.tune("quadratic_deep", n_init_samples=2, kernel="rbf", num_epochs=1)
    assert report.metric == "valid/loss"
    rates = [each.setting["strategy.optimizer.lr"] for each in report.tasks[0].standings]
    assert len(rates) == 3
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    with pytest.raises(SpecError, match="is no power of a fixed base"):
        GP(SGD, SPECIFIED, {"lr": (1, 2)}, ressources=3, transformations={"lr": lambda x: x**2})


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(SpecError, match="has 7 settings, and ressources is 6"):
        grid(lr=[1, 2, 3, 4, 5, 6, 7])
    with pytest.raises(SpecError, match="is each problem's own"):
        grid(lr=[1e-2]).tune_on_testset(["quadratic_deep"], num_epochs=3)
    with pytest.raises(SpecError, match="'lrr' is no hyperparameter"):
        grid(lrr=[1e-2]).tune("quadratic_deep", num_epochs=1)
    with pytest.raises(SpecError, match="'clip' is no training parameter"):
        grid(lr=[1e-2]).tune("quadratic_deep", num_epochs=1, clip=1.0)

    class Mine(StandardRunner):
        """Of this function alone."""

    with pytest.raises(SpecError, match="exists in this process alone"):
        GridSearch(SGD, SPECIFIED, {"lr": [1e-2]}, 1, Mine).tune("quadratic_deep", num_epochs=1)
    assert not Path("results").exists()
    assert not Path("studies").exists()
