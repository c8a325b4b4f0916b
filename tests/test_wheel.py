"""The wheel, built and tried in an environment of its own: the core brings no torch, and says what is missing."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.long
def test_the_wheel_works_alone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "regimen/py.typed" in names
    assert not [name for name in names if name.startswith("tests")]

    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        str(ROOT / "constraints.txt"),
        str(wheel),
    ]
    subprocess.run(install, check=True)

    def regimen(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(python.with_name("regimen")), *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    assert "torch" not in subprocess.run([str(python), "-m", "pip", "list"], capture_output=True, text=True).stdout
    assert "resume" in regimen("--help").stdout
    assert regimen("list").returncode == 0
    assert "none" in regimen("doctor").stdout
    (tmp_path / "run.yaml").write_text("task: sorting\nstrategy: sft\n")
    asked = regimen("run", "run.yaml")
    assert asked.returncode == 2
    assert "regimen-ml[llm]" in asked.stderr
    assert "Traceback" not in asked.stderr
