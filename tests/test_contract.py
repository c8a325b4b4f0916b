"""Every strategy that the registry knows keeps the contract; a file dropped into a folder is tested like the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from regimen.cli import main
from regimen.errors import MissingExtra
from regimen.kinds import STRATEGIES
from regimen.records.reader import load
from regimen.registry import Plugin, find, plugins
from regimen.testing import CHECKS, Subject

SETTINGS: dict[str, dict[str, Any]] = {
    "qlora": {"tuning": {"name": "lora", "r": 4}},
    "within_cost": {"cost": {"max": {"mmac": 1.0}}},
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "plugin", [p for kind in STRATEGIES for p in plugins(kind)], ids=lambda plugin: plugin.qualified
)
def test_built_in(plugin: Plugin, check: Any, tmp_path: Path) -> None:
    try:
        check(Subject(plugin, SETTINGS.get(plugin.name, {}), tmp_path))
    except MissingExtra as error:  # `make test-tf` has TensorFlow
        pytest.skip(str(error))


@pytest.mark.parametrize("style", [[], ["--all-hooks"]], ids=["short", "all hooks"])
def test_a_new_file_is_tested_without_an_edit(style: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "strategy", "mine", *style]) == 0
    assert find("mine", STRATEGIES).origin == "folder"
    assert main(["plugins", "test", "strategies/mine.py"]) == 0, capsys.readouterr()
    assert "every contract holds" in capsys.readouterr().out


BROKEN = '''
from regimen.strategies.finetune.sft import SFT
import torch

class Forgetful(SFT):
    """Multiplies the loss by a number that no checkpoint holds."""
    name = "forgetful"

    def compute_loss(self, model, batch):
        self.calls = getattr(self, "calls", 0) + 1
        loss = super().compute_loss(model, batch)
        return loss._replace(sum=loss.sum * (1 + 0.1 * self.calls))
'''


def test_a_strategy_that_forgets_its_state_is_found_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("forgetful.py").write_text(BROKEN)
    assert main(["plugins", "test", "forgetful.py"]) == 1
    out = capsys.readouterr().out
    assert "FAILED  Stopped in the middle and resumed" in out
    assert out.count("FAILED") == 1


@pytest.mark.parametrize("hook", ["why_not(self, task)", "preflight(self, task, settings)", "state_dict(self)"])
def test_an_exception_in_a_strategy_names_its_line_wherever_it_is(
    hook: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wrong.py").write_text(
        "from regimen.strategies.finetune.sft import SFT\n\nclass Wrong(SFT):\n    'Wrong.'\n    name = 'wrong'\n"
        f"    def {hook}:\n        return task_of_nobody\n"
    )
    task = ["--set", "task.train_rows=16", "--set", "task.valid_rows=4", "--set", "task.metrics=[]"]
    Path("run.yaml").write_text("task: sorting\nstrategy: {name: ./wrong.py, tuning: full}\nbudget: {steps: 1}\n")
    assert main(["run", "run.yaml", "--quiet", *task]) == 1
    said = capsys.readouterr().err
    assert "wrong.py:7: NameError: name 'task_of_nobody' is not defined" in said
    assert not list(Path().glob("regimen-error-*"))


def test_a_completed_run_is_extended_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text(
        "task: {name: sorting, train_rows: 16, valid_rows: 4, metrics: []}\n"
        "strategy: {name: sft, tuning: full}\nbudget: {steps: 2}\n"
    )
    assert main(["run", "run.yaml", "--quiet"]) == 0
    (folder,) = (path.parent for path in Path("runs").rglob("spec.yaml"))
    assert main(["resume", str(folder)]) == 3
    assert main(["resume", str(folder), "--quiet", "--set", "budget.steps=4", "--allow-changes"]) == 0
    record = load(folder)
    assert record.state["step"] == 4
    assert any("budget.steps" in note for note in record.notes)
