"""Wrong settings, through the command line: each gives its exit code and one readable message that names the place, the
value and what was expected; several are told at once; nothing is written.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from regimen.cli import main
from warm import Warm
from wrong_settings import BASE, CASES, budget, more, strategy


def told(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> list[str]:
    """The lines of the message of a command that fails without a trace on the disk."""
    before = sorted(Path().rglob("*"))
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    for bad in ("Traceback", "pydantic", "Input should", "Regimen itself", "\n\n"):
        assert bad not in err
    assert sorted(Path().rglob("*")) == before
    return [line.removeprefix("regimen: ") for line in err.splitlines() if line.startswith("regimen: ")]


@pytest.mark.parametrize("name", CASES)
def test_one_message_names_place_value_and_what_was_expected(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = CASES[name]
    Path("run.yaml").write_bytes(wrong.text if isinstance(wrong.text, bytes) else wrong.text.encode())
    (line,) = told(["run", "run.yaml", *(w for text in wrong.overrides for w in ("--set", text))], capsys)
    assert line.startswith(f"{wrong.place}: ")
    assert wrong.said in line


def test_there_are_at_least_sixty() -> None:
    assert len(CASES) >= 60


def test_all_wrong_keys_are_told_at_once_in_the_order_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    text = strategy("tuning: {name: lora, r: 0, alhpa: 3}\n  batch_size: x\n  optimizer: {lr: -1}")
    Path("run.yaml").write_text(text.replace("96", "0") + "sede: 3\ndevice: tpu\nlog: {evry: 3}\n")
    lines = told(["check", "run.yaml", "--set", "seed=x"], capsys)
    assert [line.split(": ")[0] for line in lines] == [
        "--set seed",
        "run.yaml:3 task.train_rows",
        "run.yaml:8 strategy.tuning.r",
        "run.yaml:8 strategy.tuning.alhpa",
        "run.yaml:9 strategy.batch_size",
        "run.yaml:10 strategy.optimizer.lr",
        "run.yaml:12 sede",
        "run.yaml:13 device",
        "run.yaml:14 log.evry",
    ]


def test_a_long_list_is_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text(BASE + "".join(f"key{number}: 3\n" for number in range(30)))
    lines = told(["run", "run.yaml"], capsys)
    assert len(lines) == 21
    assert lines[-1] == "and 10 more."


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        (strategy("optimizer: {lr: 1e-2}"), ()),
        (budget("{steps: 1e1}"), ()),
        (budget("{steps: 2.0}"), ()),
        (budget("{steps: 1_000}"), ()),
        (strategy("schedule: linear"), ()),
        (strategy("clip_norm: null"), ()),
        (BASE, ("strategy.optimizer.lr=1e-2", "strategy.tuning.name=lora", "strategy.tuning.r=2")),
        ("\ufeff" + BASE, ()),
        ("task: {<<: {train_rows: 96, valid_rows: 16}, name: sorting}\nstrategy: sft\n", ()),
    ],
)
def test_what_is_right_is_taken(text: str, overrides: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text(text, encoding="utf-8")
    code = main(["check", "run.yaml", *(word for text in overrides for word in ("--set", text))])
    assert (code, capsys.readouterr().err) == (0, "")


# ------------------------------------------------------------------------------------------------ files and names


def test_a_file_that_is_absent_or_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["run", "none.yaml"], capsys) == [
        "none.yaml: cannot be read: No such file or directory. Give the path of a YAML file."
    ]
    assert told(["check", "."], capsys) == [".: cannot be read: Is a directory. Give the path of a YAML file."]


@pytest.mark.parametrize("command", ["show", "resume", "stop", "logs", "prune"])
def test_a_run_that_is_not_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = told([command, "01ABC"], capsys)
    assert line.startswith("01ABC: no run below runs has this folder, or an id that begins or ends so.")


def test_runs_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = told(["diff", "01ABC", "01DEF"], capsys)
    assert line.startswith("01ABC: ")
    (line,) = told(["clone", "01ABC", "new.yaml"], capsys)
    assert line.startswith("01ABC: ")
    Path("spec.yaml").write_text("[")
    (line,) = told(["show", "."], capsys)
    assert "spec.yaml: cannot be parsed" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "missing argument 'RUN.yaml'. `regimen run --help` shows what there is."),
        (["run", "a.yaml", "--fast"], "no such option: --fast"),
        (["run", "a.yaml", "b.yaml"], "got unexpected extra argument(s) (b.yaml)"),
        (["run", "a.yaml", "--set"], "option '--set' requires an argument"),
        (["rnu", "a.yaml"], "no such command 'rnu'. Did you mean 'run'"),
        (["prune", "--keep", "0"], "invalid value for '--keep': expected at least 1"),
        (["prune", "--keep", "few"], "invalid value for '--keep': "),
        (["data", "preview"], "missing argument 'RUN.yaml'. `regimen data preview --help` shows what there is."),
        (["list", "--status", "done"], "--status: 'done' is not known. Known: completed, diverged"),
        (["plugins", "stf"], "there is no plug-in 'stf'. Did you mean 'sft'?"),
        (["plugins", "test"], "give one file: regimen plugins test FILE"),
        (["schema", "stf"], "there is no plug-in 'stf'. Did you mean 'sft'?"),
    ],
)
def test_arguments(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = told(words, capsys)
    assert said in line


# ------------------------------------------------------------------------------------------------ plug-in files

GOOD = "from regimen.finetune.strategy import TrainingStrategy\n\n\nclass Mine(TrainingStrategy):\n    name = 'mine'\n"
FILES = {
    "syntax": (GOOD + "\n    def broken(:\n", "mine.py:7", "does not parse", 1),
    "import": ("import no_such_package\n" + GOOD, "mine.py:1", "No module named 'no_such_package'", 1),
    "exception": (GOOD + "\n\nprint(1 / 0)\n", "mine.py:8", "ZeroDivisionError: division by zero", 1),
    "no strategy": ("x = 1\n", "mine.py", "holds no strategy.", 2),
    "two strategies": (
        GOOD + "\n\nclass Other(TrainingStrategy):\n    name = 'other'\n",
        "mine.py",
        "holds 2 of them (Mine, Other). Name one: ./mine.py:Mine.",
        2,
    ),
    "unknown type": (
        "from __future__ import annotations\n" + GOOD.replace("    name", "    size: Size = 3\n    name"),
        "Mine",
        "the type of a setting cannot be found: name 'Size' is not defined",
        1,
    ),
    "not UTF-8": (b"# caf\xe9\n", "mine.py", "does not parse", 1),
}


@pytest.mark.parametrize("name", FILES)
def test_a_strategy_file_that_cannot_be_used(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, place, said, code = FILES[name]
    Path("mine.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    Path("run.yaml").write_text(BASE.replace("sft", "./mine.py"))
    (line,) = told(["check", "run.yaml"], capsys, code)
    assert place in line
    assert said in line


def test_two_strategies_of_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("strategies").mkdir()
    Path("strategies/other.py").write_text(GOOD.replace("'mine'", "'sft'"))
    Path("run.yaml").write_text(BASE)
    (line,) = told(["check", "run.yaml"], capsys)
    assert "the name 'finetune/sft' is taken" in line
    assert "strategies/other.py" in line
    assert "Rename one of them." in line


# ------------------------------------------------------------------------------------------------ refused, not wrong


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (strategy("tuning: full\n  quantize: {bits: 4}"), "strategy.quantize: is 4 bits with tuning full"),
        (more("checkpoint: {best: test/loss}"), "checkpoint.best: is 'test/loss', and the task has no test rows"),
        (more("device: mps"), "device: is 'mps', which only an Apple machine has. Choose device: auto or cpu."),
    ],
)
def test_what_parses_and_cannot_work_is_refused(text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if "mps" in text and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    Path("run.yaml").write_text(text)
    assert main(["check", "run.yaml"]) == 3
    out, err = capsys.readouterr()
    assert f"error: {said}" in out
    assert "ready" not in out
    assert err == ""


def test_in_a_process_of_its_own(warm: Warm) -> None:
    """The same through the installed command: exit codes and streams are the process's own."""
    Path("run.yaml").write_text(budget("{steps: many}"))
    ended = warm.run("run", "run.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("regimen: run.yaml:9 budget.steps: is 'many' (text); expected a whole number.")
    Path("run.yaml").write_text(more("device: cuda:99"))
    ended = warm.run("run", "run.yaml")
    assert ended.code == 3
    assert "regimen: device: is 'cuda:99'" in ended.err
    assert warm.run("run", "--fast").code == 2
    assert warm.run("show", "01ABC").code == 2
