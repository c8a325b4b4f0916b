"""No space left, on a small disk mounted for it: one sentence, exit code 75, what was saved stays, a resume works."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from regimen.checkpoint import Checkpoints
from regimen.errors import DiskFull
from regimen.records.reader import load
from regimen.walking import files_below
from warm import Warm


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    os.chdir(tmp_path)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_no_space_leaves_the_earlier_one(small_disk: Path) -> None:
    store = Checkpoints(small_disk, keep=2)
    for step in (1, 2):
        store.save(step, {"w": torch.full((50,), float(step))})
    with pytest.raises(DiskFull) as raised:
        store.save(3, {"w": torch.zeros(4_000_000)})
    text = str(raised.value)
    assert raised.value.exit_code == 75
    assert "step-3.tmp: cannot be written: the disk is full (16.0 MB needed, " in text
    assert "MB free). Free some space, then resume." in text
    newest = store.newest()
    assert newest is not None
    assert newest.step == 2
    assert sorted(path.name for path in (small_disk / "checkpoints").iterdir()) == ["step-1", "step-2"]


def test_a_run_on_a_full_disk_is_resumed_after_space_is_made(small_disk: Path, warm: Warm) -> None:
    """The tiny model's checkpoint is a few MB: the first fits, and the ballast leaves no room for another."""
    spec = {
        "task": {"name": "sorting", "train_rows": 96, "valid_rows": 16, "metrics": [], "samples": 0},
        "strategy": {"name": "sft", "tuning": {"name": "lora", "r": 16}},
        "budget": {"steps": 8},
        "checkpoint": {"every": 2},
        "log": {"every": 1},
        "threads": 1,
        "output": str(small_disk / "runs"),
    }
    Path("run.yaml").write_text(yaml.safe_dump(spec))
    first = warm.run("run", "run.yaml", "--quiet", "--set", "budget.steps=2", "--set", "output=whole")
    assert first.code == 0, first.err
    size = sum(path.stat().st_size for path in Path("whole").rglob("step-2/*"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (12 * 2**20 - int(1.6 * size) - 300_000))
    ended = warm.run("run", "run.yaml", "--quiet")
    assert ended.code == 75, ended.err
    (told,) = [line for line in ended.err.splitlines() if line.startswith("regimen: ")]
    assert "cannot be written: the disk is full (" in told
    assert "Traceback" not in ended.err
    (folder,) = [path.parent for path in small_disk.rglob("spec.yaml")]
    newest = Checkpoints(folder).newest()
    assert newest is not None
    assert newest.step == 2
    ballast.unlink()
    again = warm.run("resume", folder, "--quiet")
    assert again.code == 0, again.err
    assert (load(folder).status, load(folder).resumes) == ("completed", [2])


def test_no_space_for_events(small_disk: Path, warm: Warm) -> None:
    spec = {
        "task": {"name": "sorting", "train_rows": 96, "valid_rows": 16, "metrics": [], "samples": 0},
        "strategy": {"name": "sft", "tuning": {"name": "lora", "r": 2}},
        "budget": {"steps": 2000},
        "checkpoint": {"every": 5},
        "log": {"every": 1},
        "threads": 1,
        "output": str(small_disk / "runs"),
    }
    Path("run.yaml").write_text(yaml.safe_dump(spec))
    child = warm.start("run", "run.yaml", "--quiet")
    while not any(path.parent.name == "step-5" for path in files_below(small_disk, "manifest.json")):
        assert child.running, child.wait().err
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while ballast.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    ended = child.wait()
    assert ended.code == 75, ended.err
    assert "the disk is full" in ended.err
    (folder,) = [path.parent for path in small_disk.rglob("spec.yaml")]
    (small_disk / "ballast").unlink()
    assert Checkpoints(folder).newest() is not None
    assert warm.run("resume", folder, "--quiet", "--set", "budget.steps=40", "--allow-changes").code == 0
