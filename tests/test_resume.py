"""Stop and resume: the end is that of a run that was left alone, and what has changed meanwhile is refused."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from regimen.checkpoint import Checkpoints
from regimen.errors import RecordError, Refused, ResumeRefused, Stopped
from regimen.events import Event, Metrics
from regimen.execute import resume, run
from regimen.records.reader import load
from regimen.walking import files_below
from tiny_runs import (
    BROKEN,
    FULL,
    RANDOM,
    broken,
    everything,
    only_run,
    spec,
    stopping_at,
    text_task,
)
from warm import Child, Warm


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_ends_identically(workers: int, tmp_path: Path) -> None:
    """Random augmentation, dropout, accumulation, in the middle of an epoch, between two checkpoints and log lines."""
    Path("random.py").write_text(RANDOM)
    strategy = {**FULL, "name": "./random.py", "accumulate": 3, "tuning": {"name": "lora", "r": 2, "dropout": 0.2}}
    asked = spec(strategy, budget={"epochs": 2.5}, workers=workers, checkpoint={"every": 4}, evaluate={"every": 3})
    whole = run({**asked, "output": "whole"})
    for step in (3, 5):
        folder = Path(f"stopped-{step}")
        with pytest.raises(Stopped) as raised:
            run({**asked, "output": str(folder)}, listeners=[_stop_in(folder, step)])
        assert raised.value.exit_code == 5
        stopped = load(only_run(folder))
        assert (stopped.status, stopped.state["step"]) == ("stopped", step)
        record = resume(stopped.folder)
        assert (record.status, record.resumes) == ("completed", [step])
        assert everything(record) == everything(whole)
        assert record.final == {**whole.final}


def _stop_in(folder: Path, step: int) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, Metrics) and event.step == step and "train/loss" in event.values:
            (only_run(folder) / "stop").touch()

    return listen


def started(warm: Warm, steps: int, at_least: int = 3) -> tuple[Child, Path]:
    """A run in a process of its own that has taken some steps."""
    Path("run.yaml").write_text(yaml.safe_dump(spec(budget={"steps": steps})))
    child = warm.start("run", "run.yaml", "--quiet")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [path.parent for path in files_below(Path(), "spec.yaml")]
        if found and (found[0] / "events.jsonl").read_text().count('"train/loss"') >= at_least:
            return child, found[0]
        assert child.running, child.wait().err
        time.sleep(0.01)
    raise AssertionError("it took no step")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(number: int, warm: Warm, tmp_path: Path) -> None:
    child, folder = started(warm, 60)
    child.kill(number)
    ended = child.wait()
    assert ended.code == 5, ended.err
    stopped = load(folder)
    how, goes_on = f"received {signal.Signals(number).name}. `regimen ", "` goes on from here.\n"
    assert how in ended.err
    assert ended.err.endswith(goes_on)
    words = shlex.split(ended.err.partition(how)[2].removesuffix(goes_on))
    assert (stopped.status, stopped.state["exit_code"]) == ("stopped", 5)
    assert Checkpoints(folder).paths()[-1].name == f"step-{stopped.state['step']}"
    assert warm.run(*words, "--quiet").code == 0, "what it says can be copied"
    assert everything(load(folder)) == everything(run(spec(budget={"steps": 60}, output="whole")))


def test_regimen_stop_and_a_second_resume(warm: Warm, tmp_path: Path) -> None:
    child, folder = started(warm, 5000)
    ended = warm.run("resume", folder)
    assert ended.code == 2
    assert f"is being trained by process {child.pid} on " in ended.err
    assert "stop it with `regimen stop`" in ended.err
    assert load(folder).status == "running"
    assert warm.run("stop", folder).code == 0
    assert child.wait().code == 5
    assert load(folder).status == "stopped"
    ended = warm.run("stop", folder)
    assert (ended.code, "is not running" in ended.out + ended.err) == (2, True)


def test_a_completed_run_is_not_resumed(tmp_path: Path) -> None:
    record = run(spec(budget={"steps": 2}))
    with pytest.raises(Refused, match="has completed") as raised:
        resume(record.folder)
    assert raised.value.exit_code == 3
    assert load(record.folder).status == "completed"


def _change_data() -> dict[str, Any]:
    rows = Path("train.jsonl").read_text().splitlines()
    Path("train.jsonl").write_text("\n".join([*rows[:-1], rows[-1].replace("so", "no", 1)]) + "\n")
    return {}


def _change_code() -> dict[str, Any]:
    Path("broken.py").write_text(BROKEN.replace("empty", "full"))
    return {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change_data, "the data has changed since the checkpoint was written"),
        (_change_code, "the strategy's file has changed since the checkpoint was written"),
        (lambda: {"overrides": ["strategy.batch_size=4"]}, "strategy.batch_size was 8 and is 4"),
        (lambda: {"overrides": ["seed=4"]}, "seed was 3 and is 4"),
    ],
    ids=["data", "code", "settings", "seed"],
)
def test_a_resume_with_something_else_is_refused(
    change: Callable[[], dict[str, Any]], said: str, tmp_path: Path
) -> None:
    asked = spec(broken(), task=text_task())
    with pytest.raises(Stopped):
        run(asked, listeners=[stopping_at(3)])
    folder = only_run()
    more = change()
    with pytest.raises(ResumeRefused, match=said) as raised:
        resume(folder, **more)
    assert raised.value.exit_code == 3
    assert load(folder).status == "stopped"
    record = resume(folder, allow_changes=True, **more)
    assert record.status == "completed"
    assert any(note == f"resumed although {said}." for note in record.notes)


def test_what_changes_nothing_may_change_on_a_resume(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(spec(), listeners=[stopping_at(3)])
    record = resume(only_run(), ["workers=2", "checkpoint.every=1", "log.every=2"])
    assert (record.status, record.resumes) == ("completed", [3])


def test_a_folder_that_is_no_run_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is not a run"):
        resume(tmp_path)


def test_a_kill_of_the_process_alone_frees_the_run(warm: Warm, tmp_path: Path) -> None:
    """Its two workers live on for seconds; they must not hold the run's lock."""
    Path("run.yaml").write_text(yaml.safe_dump(spec(budget={"steps": 40}, workers=2, checkpoint={"every": 5})))
    child = warm.start("run", "run.yaml", "--quiet")
    while not any(path.parent.name == "step-5" for path in files_below(Path(), "manifest.json")):
        assert child.running, child.wait().err
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait().code == -signal.SIGKILL
    assert load(only_run()).status == "lost"
    ended = warm.run("resume", only_run(), "--quiet")
    assert ended.code == 0, ended.err
