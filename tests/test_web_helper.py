"""The helper process: whatever a plug-in does in it, the question is answered, the others too, and it goes on."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from regimen.errors import ProcessLost, RegimenError, SpecError, StrategyFailed
from regimen.web.helper.client import Helper
from regimen.web.helper.serving import plain

SETTINGS = {
    "task": {"name": "sorting", "train_rows": 96, "valid_rows": 16, "metrics": []},
    "strategy": "sft",
    "budget": {"steps": 3},
    "threads": 1,
}

PLUGIN = '''
from regimen.finetune import TrainingStrategy

class Mine(TrainingStrategy):
    """A strategy."""
    name = "{name}"

{body}
'''

BAD = {
    "exits": ("import sys\nsys.exit(3)", r"ended by itself, with sys.exit\(3\)"),
    "leaves": ("import os\nos._exit(0)", "ended by itself, with exit code 0"),
    "crashes": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
    "eats": ("held = []\nwhile True:\n    held.append(b'x' * 200_000_000)", "took more than 1.5 GB of memory"),
    "forks": (
        "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nos._exit(1)",
        "ended (by itself, with exit code 1|without an answer)",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "strategies").mkdir()
    put(folder, "talks", "print('hello')\nimport sys\nsys.stdin.read()\nsys.stdout.flush()")
    put(folder, "loops", "while True:\n    pass")
    put(folder, "sleeps", "import time\ntime.sleep(3)")
    put(folder, "raises", "raise ValueError('no such luck')")
    for name, (body, _) in BAD.items():
        put(folder, name, body)
    return folder


@pytest.fixture(scope="module")
def helper(folder: Path) -> Iterator[Helper]:
    helper = Helper(folder, most_memory=1_500_000_000)
    helper.ask("check", settings=SETTINGS)
    yield helper
    helper.close()


def put(folder: Path, name: str, body: str) -> None:
    (folder / "strategies" / f"{name}.py").write_text(PLUGIN.format(name=name, body=body))


def asked(helper: Helper, name: str, patience_s: float = 60.0) -> RegimenError:
    with pytest.raises(RegimenError) as caught:
        helper.ask("describe", kind="finetune", name=name, patience_s=patience_s)
    return caught.value


def test_a_check_leaves_nothing_and_says_what_would_be_trained(helper: Helper, folder: Path) -> None:
    answer = helper.ask("check", settings=SETTINGS)
    assert answer["ready"]
    assert answer["settings"]["strategy"]["batch_size"] == 8
    assert [found["level"] for found in answer["findings"]] == ["info", "info"]
    assert sorted(path.name for path in folder.iterdir()) in (["strategies"], ["runs", "strategies"])
    assert [path.name for path in folder.glob("runs/*")] == [".cache"]


def test_the_place_of_an_error_is_the_settings_path_alone(helper: Helper) -> None:
    with pytest.raises(SpecError) as caught:
        helper.ask("check", settings={**SETTINGS, "strategy": {"name": "sft", "batch": 3}})
    assert caught.value.problems[0].place == "strategy.batch"
    assert caught.value.problems[0].fix == "Did you mean 'batch_size'?"


@pytest.mark.parametrize("name", BAD)
def test_a_plugin_that_ends_its_process_takes_only_itself_along(helper: Helper, name: str) -> None:
    before = helper.process
    error = asked(helper, name)
    assert isinstance(error, ProcessLost)
    assert re.search(BAD[name][1], str(error)), str(error)
    assert helper.process == before
    assert helper.ask("describe", kind="finetune", name="sft")["defaults"]["batch_size"] == 8


def test_what_a_plugin_prints_is_no_answer_and_it_has_no_input(helper: Helper) -> None:
    assert helper.ask("describe", kind="finetune", name="talks")["doc"] == "A strategy."


def test_a_plugin_that_does_not_load_is_named_with_its_line(helper: Helper) -> None:
    error = asked(helper, "raises")
    assert isinstance(error, StrategyFailed)
    assert error.problems[0].place == "strategies/raises.py:8"


def test_a_plugin_that_never_ends_is_ended(helper: Helper) -> None:
    began = time.monotonic()
    error = asked(helper, "loops", patience_s=2.0)
    assert "took too long" in str(error)
    assert time.monotonic() - began < 30


def test_questions_do_not_wait_for_one_another(helper: Helper) -> None:
    ended: dict[str, float] = {}

    def ask(name: str) -> None:
        helper.ask("describe", kind="finetune", name=name)
        ended[name] = time.monotonic()

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("sleeps", "sft", "dpo")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert max(ended["sft"], ended["dpo"]) < ended["sleeps"]


def test_a_changed_file_is_read_anew(helper: Helper, folder: Path) -> None:
    for value in (1, 2):
        put(folder, "changes", f"Mine.beta = {value}\nMine.__annotations__ = {{'beta': int}}")
        assert helper.ask("describe", kind="finetune", name="changes")["defaults"]["beta"] == value


def test_an_answer_is_remembered_until_the_state_changes(helper: Helper) -> None:
    first = helper.recall("a", "describe", kind="finetune", name="sft")
    assert helper.recall("a", "describe", kind="finetune", name="sft") is first
    assert helper.recall("b", "describe", kind="finetune", name="sft") is not first


def test_a_helper_that_was_killed_is_started_again(helper: Helper) -> None:
    first = helper.process
    assert first is not None
    thread, caught = asking_for_what_loops(helper)
    child = wait_for_child(first)
    os.kill(first, signal.SIGKILL)
    thread.join(30)
    assert "died" in str(caught[0])
    assert helper.ask("look", files=[])["files"] == {}
    assert helper.process != first
    assert gone(child)


def test_a_server_that_ends_takes_what_was_asked_along(helper: Helper) -> None:
    process = helper.process
    assert process is not None
    thread, caught = asking_for_what_loops(helper)
    child = wait_for_child(process)
    helper.close()
    thread.join(30)
    assert len(caught) == 1
    assert gone(child)
    assert gone(process)
    assert helper.process is None


def asking_for_what_loops(helper: Helper) -> tuple[threading.Thread, list[Exception]]:
    """A thread that waits for an answer that never comes, and what it gets instead."""
    caught: list[Exception] = []

    def ask() -> None:
        try:
            helper.ask("describe", kind="finetune", name="loops", patience_s=100.0)
        except ProcessLost as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, caught


def wait_for_child(process: int) -> int:
    for _ in range(600):
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.1)
    raise AssertionError("no child")


def gone(process: int) -> bool:
    for _ in range(100):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_answers_are_json_that_every_reader_takes() -> None:
    odd = {"nan": float("nan"), "inf": [float("inf")], "half": "\ud800", 1: Path("a"), "zero": 0, "no": False}
    assert plain(odd) == {"nan": None, "inf": [None], "half": "?", "1": "a", "zero": 0, "no": False}
