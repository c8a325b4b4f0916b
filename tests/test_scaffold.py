"""`regimen new`: what it writes runs at once, comes with a test that passes, and touches nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import regimen
from regimen.cli import main
from regimen.kinds import KINDS
from regimen.registry import find, plugins
from regimen.scaffold import KINDS as NEW

PARTS = ["searcher", "space", "criterion"]
RUN = """
task:     {name: digits, supernet: {space: {name: chain, widths: [4, 6]}}}
strategy: {name: uniform, search: {name: random, queries: 4}, retrain: null, batch_size: 16}
budget:   {steps: 4}
threads:  1
"""
PLACE = {
    "sampler": "strategy.name=mine",
    "searcher": "strategy.search={name: mine, queries: 6}",
    "space": "task.supernet.space={name: mine}",
    "criterion": "strategy.criterion=mine",
}


def files() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}


def test_a_new_sampler_keeps_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "sampler", "mine"]) == 0
    assert files() == {"strategies/mine.py", "strategies/test_mine.py"}
    assert main(["plugins", "test", "strategies/mine.py"]) == 0
    assert "every contract holds" in capsys.readouterr().out


@pytest.mark.parametrize("kind", PLACE)
def test_a_new_part_of_a_search_is_used_at_once(kind: str) -> None:
    assert main(["new", kind, "mine"]) == 0
    assert find("mine", [NEW[kind].kind]).origin == "folder"
    Path("run.yaml").write_text(RUN)
    assert main(["run", "run.yaml", "--quiet", "--set", PLACE[kind]]) == 0
    (record,) = [regimen.load(path.parent) for path in Path("runs").rglob("spec.yaml")]
    assert "search/accuracy" in record.final


@pytest.mark.parametrize("kind", PARTS)
def test_the_test_of_a_new_part_passes(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert main(["new", kind, "mine"]) == 0
    (path,) = Path().rglob("test_mine.py")
    names: dict[str, Any] = {"__file__": str(path.absolute())}
    exec(compile(path.read_text(), str(path), "exec"), names)
    names["test_it_takes_part_in_a_search"](tmp_path)


def test_the_tests_are_found_by_pytest() -> None:
    assert main(["new", "sampler", "mine"]) == 0
    assert main(["new", "searcher", "yours"]) == 0
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q"], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "strategies/test_mine.py::test_contract[trains]" in ended.stdout
    assert "searchers/test_yours.py::test_it_takes_part_in_a_search" in ended.stdout


def test_two_of_each_kind_live_side_by_side() -> None:
    """What is written last spoils nothing that was there (in OSNASLib the second one broke every import)."""
    for kind in NEW:
        for number in "12":
            assert main(["new", kind, f"{kind}_{number}"]) == 0
    for kind, new in NEW.items():
        for number in "12":
            assert find(f"{kind}_{number}", [new.kind]).load().__doc__, kind
    known = {plugin.name for kind in KINDS for plugin in plugins(kind)}
    assert {f"{kind}_{number}" for kind in NEW for number in "12"} <= known


@pytest.mark.parametrize("name", ["path", "sampler", "none", "architecture"])
def test_a_name_that_means_something_in_the_file_does_no_harm(name: str) -> None:
    assert main(["new", "sampler", name]) == 0
    plugin = find(name, ["nas"])
    assert plugin.class_name == f"{name.capitalize()}Sampler" if name != "path" else True
    assert plugin.make(plugin.settings()()).name == name


@pytest.mark.parametrize("kind", NEW)
def test_what_is_written_is_in_the_house_style(kind: str) -> None:
    assert main(["new", kind, "mine"]) == 0
    written = sorted(files())
    for command in (["check", "--select", "E,F,W,B,UP"], ["format", "--check"]):
        ended = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--line-length", "120", *written], capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["samplr", "mine"], "there is no kind 'samplr'. Did you mean 'sampler'?"),
        (["sampler", "Mine"], "'Mine' cannot be the name of a file"),
        (["sampler", "test_mine"], "'test_mine' cannot be the name"),
        (["sampler", "uniform"], "there is a strategy 'uniform' already"),
        (["criterion", "focal"], "there is a criterion 'focal' already"),
    ],
)
def test_what_cannot_be_written_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not files()


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("strategies").mkdir()
    Path("strategies/test_mine.py").write_text("mine = 1\n")
    assert main(["new", "sampler", "mine"]) == 2
    assert "strategies/test_mine.py: is there already" in " ".join(capsys.readouterr().err.split())
    assert files() == {"strategies/test_mine.py"}
