"""Without TensorFlow its runners are listed, imported and subclassed; a run says which extra it needs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import regimen
from regimen.cli import main
from regimen.deepobs.tensorflow import LearningRateScheduleRunner, StandardRunner, TFRunner
from regimen.errors import MissingExtra, SpecError
from regimen.registry import plugins

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed: see test_tf_runner.py"
)
EXTRA = r"TensorFlow.*pip install 'regimen-ml\[tf\]'"


def quadratic(**strategy: Any) -> dict[str, Any]:
    strategy = {"name": "tf_standard", "optimizer": {"name": "sgd", "lr": 0.01}} | strategy
    return {"task": "quadratic_deep", "strategy": strategy, "budget": {"epochs": 1}}


def test_the_runners_are_listed_with_their_settings() -> None:
    found = {plugin.name: plugin for plugin in plugins("benchmark")}
    assert {"tf_standard", "tf_lr_schedule"} <= found.keys()
    settings = found["tf_lr_schedule"].settings().model_fields
    assert {"optimizer", "optimizer_name", "lr_sched_epochs", "lr_sched_factors"} <= settings.keys()


def test_a_run_names_the_extra_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MissingExtra, match=EXTRA):
        regimen.run(quadratic())
    Path("run.yaml").write_text("task: quadratic_deep\nstrategy: tf_standard\nbudget: {epochs: 1}\n")
    for command in ("run", "check"):
        assert main([command, "run.yaml"]) == 2
        assert "pip install 'regimen-ml[tf]'" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_wrong_settings_are_named_before_that() -> None:
    with pytest.raises(SpecError, match=r"learning_rate.*is given besides lr"):
        regimen.run(quadratic(optimizer={"name": "sgd", "lr": 0.1, "learning_rate": 0.1}))
    with pytest.raises(SpecError, match="no_such_setting"):
        regimen.run(quadratic(no_such_setting=1))


@pytest.mark.parametrize("base", [TFRunner, StandardRunner, LearningRateScheduleRunner])
def test_a_runner_of_ones_own_is_made_and_says_so_when_it_runs(base: type[TFRunner]) -> None:
    class Mine(base):  # type: ignore[valid-type,misc]
        def training(self, testproblem: Any, hyperparams: Any, num_epochs: int, **training_params: Any) -> Any:
            return {}

    runner = Mine(object, {"learning_rate": {"type": float}})
    with pytest.raises(MissingExtra, match=EXTRA):
        runner.run("quadratic_deep", {"learning_rate": 0.1}, num_epochs=1)
    with pytest.raises(MissingExtra, match=EXTRA):
        runner.create_testproblem("quadratic_deep", None, None, 0)


def test_a_file_with_a_runner_is_a_plugin() -> None:
    Path("mine.py").write_text(
        "from regimen.benchmark.tf import TFRunner\n\nclass Mine(TFRunner):\n    'Mine.'\n    name = 'mine'\n"
        "    def training(self, testproblem, hyperparams, num_epochs, clip: float = 1.0): ...\n"
    )
    with pytest.raises(MissingExtra, match=EXTRA):
        regimen.run(quadratic(name="./mine.py", clip=2.0))
    with pytest.raises(SpecError, match="clop"):
        regimen.run(quadratic(name="./mine.py", clop=2.0))
