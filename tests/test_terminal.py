"""Commands on a terminal, where a bar is drawn and what is printed goes above it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

import regimen
from made_runs import made_run
from regimen.progress import Progress
from regimen.records.reader import load
from tiny_runs import FULL, TASK
from warm import Warm

TALKS = """from regimen.finetune import TrainingStrategy


class Talks(TrainingStrategy):
    \"\"\"Prints a line a step.\"\"\"

    name = "talks"

    def compute_loss(self, model, batch):
        print("hello from a plug-in")
        return super().compute_loss(model, batch)
"""
RUN = {"task": TASK, "strategy": FULL, "budget": {"steps": 6}, "log": {"every": 2}, "threads": 1}


class Terminal:
    """A terminal, and all that was written to it."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        self.name, self._theirs, self._said = os.ttyname(theirs), theirs, bytearray()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._ours, 65536):
                self._said += data
        except OSError:  # nobody holds the other end any more
            pass

    def close(self) -> str:
        """Its text, without colours and movements."""
        os.close(self._theirs)
        self._reading.join(30)
        os.close(self._ours)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._said.decode(errors="replace")).replace("\r", "\n")


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def test_a_run_shows_a_bar_and_ends_well(warm: Warm, terminal: Terminal, tmp_path: Path) -> None:
    """Its log once stayed between us and the terminal: every run that drew a bar ended in an error of ours."""
    Path("strategies").mkdir()
    Path("strategies/talks.py").write_text(TALKS)
    Path("run.yaml").write_text(yaml.safe_dump({**RUN, "strategy": {**FULL, "name": "talks"}}))
    ended = warm.start("run", "run.yaml", terminal=terminal.name).wait()
    said = terminal.close()
    assert ended.code == 0, said
    assert re.search("━+ +step 6 +loss", said)
    assert said.count("hello from a plug-in\n") >= 6, "each on a line of its own"
    after = said[said.rindex("━") :]
    assert "talks · seed 0: completed" in after
    assert re.search(r"report +runs/", after)
    assert not list(tmp_path.glob("regimen-error*"))
    (record,) = [load(path.parent) for path in tmp_path.rglob("spec.yaml")]
    assert (record.folder / "log.txt").read_text().count("hello from a plug-in") >= 6


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_stream_that_cannot_say_everything_ends_no_command(encoding: str, tmp_path: Path) -> None:
    made_run(tmp_path / "ü", "π")
    words = ["show", str(next(tmp_path.rglob("spec.yaml")).parent)]
    code = f"import sys; from regimen.cli import main; sys.exit(main({words}))"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    assert b"status   completed" in ended.stdout


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from regimen.cli import main; sys.exit(main(['schema']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said) == (0, b"")


def test_a_refused_run_leaves_its_message_alone(warm: Warm, terminal: Terminal) -> None:
    Path("run.yaml").write_text(yaml.safe_dump({**RUN, "strategy": {**FULL, "batch_size": 0}}))
    ended = warm.start("run", "run.yaml", terminal=terminal.name).wait()
    said = terminal.close()
    assert ended.code == 2, said
    assert said.rstrip().splitlines()[-1].startswith("regimen: run.yaml:")


def test_a_listener_of_ones_own_gives_the_streams_back(capsys: pytest.CaptureFixture[str]) -> None:
    display = Progress(terminal=True)
    regimen.run(RUN, listeners=[display])
    display.close()
    print("still here")
    assert "still here" in capsys.readouterr().out
