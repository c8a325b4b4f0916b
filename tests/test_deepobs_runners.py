"""DeepOBS' runners by their published names: run by hand, as a script, and as `regimen run`."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import regimen
from regimen.benchmark.files import read_results
from regimen.benchmark.files.export import export_beside
from regimen.cli import main
from regimen.deepobs import LearningRateScheduleRunner, PTRunner, Runner, StandardRunner
from regimen.errors import MissingExtra, RecordError, Refused, SpecError, StrategyFailed
from regimen.records.reader import Record, find_records
from regimen.registry import plugins
from regimen.scaffold import write

SGD = torch.optim.SGD
RATE = {"lr": {"type": float}}
MOMENTUM = {**RATE, "momentum": {"type": float, "default": 0.0}, "nesterov": {"type": bool, "default": False}}
SIX = ("train_losses", "valid_losses", "test_losses", "train_accuracies", "valid_accuracies", "test_accuracies")

HEAD = '''"""A runner by the recipe of DeepOBS' documentation."""

import torch

from regimen.deepobs import PTRunner


class ClippingRunner(PTRunner):
    """Clips gradients."""

    def training(self, testproblem, hyperparams, num_epochs, **training_params):
        clip = training_params["clip"]
        opt = self._optimizer_class(testproblem.net.parameters(), **hyperparams)
        lists = [[] for _ in range(6)]
        for epoch in range(num_epochs + 1):
            self.evaluate_all(epoch, num_epochs, testproblem, *lists)
            if epoch == num_epochs:
                break
            testproblem.train_init_op()
            while True:
                try:
                    opt.zero_grad()
                    (loss, _), forward = testproblem.get_batch_loss_and_accuracy(return_forward_func=True)
                    loss.backward()
                    if clip:
                        torch.nn.utils.clip_grad_norm_(testproblem.net.parameters(), clip)
                    opt.step()
                    assert forward()[0] != loss
                except StopIteration:
                    break
        names = [f"{split}_{what}" for what in ("losses", "accuracies") for split in ("train", "valid", "test")]
        return {**dict(zip(names, lists)), "clipped_at": clip}

    def _add_training_params_to_argparse(self, parser, args, training_params):
        try:
            args["clip"] = training_params["clip"]
        except KeyError:
            parser.add_argument("--clip", type=float, default=None)

    def _add_training_params_to_output_dir_name(self, training_params, run_folder_name):
        return run_folder_name + "__clipped_at__" + str(training_params.get("clip"))


'''
CALL = 'output = ClippingRunner(torch.optim.SGD, {"lr": {"type": float}}).run()\n'
GUARDED = HEAD + 'if __name__ == "__main__":\n    ' + CALL

NEVER_RIGHT = '''"""A problem that no net gets right."""

import torch
from torch import nn

from regimen.benchmark import Examples, Problem, Splits


class NeverRight(Problem):
    """Every row is wrong, in every split."""

    name, num_epochs, num_parameters, batch_size = "never_right", 2, 3, 4

    def read(self):
        rows = Examples(torch.ones(16, 2), torch.zeros(16, 1))
        return Splits(rows, rows, rows, rows)

    def make_net(self):
        return nn.Linear(2, 1)

    def losses(self, outputs, batch):
        return (outputs - batch.targets).square()[:, 0]

    def hits(self, outputs, batch):
        return torch.zeros(len(outputs))
'''


class Loop(PTRunner):
    """Takes one training parameter; returns what it was given."""

    def training(
        self, testproblem: Any, hyperparams: dict[str, Any], num_epochs: int, print_train_iter: bool, clip: float = 0.0
    ) -> dict[str, Any]:
        lists: list[list[float]] = [[] for _ in range(6)]
        for epoch in range(num_epochs + 1):
            self.evaluate_all(epoch, num_epochs, testproblem, *lists)
        return {**dict(zip(SIX, lists, strict=True)), "seen": [hyperparams, clip, print_train_iter]}


def standard(**more: Any) -> dict[str, Any]:
    return StandardRunner(SGD, MOMENTUM).run("quadratic_deep", {"lr": 0.01}, num_epochs=2, **more)


def script(path: Path, *arguments: str, code: int = 0) -> str:
    """Runs a file as a user does; its standard error."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(path), *arguments], cwd=path.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def stored(folder: str = "results") -> list[Path]:
    return sorted(Path(folder).rglob("*.json"))


# -------------------------------------------------------------------------------------------- run, and what is left


def test_a_run_leaves_a_record_and_deepobs_tree() -> None:
    output = standard(random_seed=7)
    assert [len(output[name]) for name in SIX[:3]] == [3, 3, 3], "the untrained model, and one an epoch"
    assert not [name for name in output if name.endswith("accuracies")], "the problem has none"
    (path,) = stored()
    setting = "num_epochs__2__batch_size__128__lr__1.e-02__momentum__0.e+00__nesterov__False"
    assert path.parent == Path("results/quadratic_deep/SGD") / setting
    assert path.name.startswith("random_seed__7__20")
    assert json.loads(path.read_text()) == output
    (record,) = find_records(Path("runs"))
    assert [p.value for p in record.curve("test/loss")] == output["test_losses"]
    assert (output["run"], output["content"], output["status"]) == (record.id, record.content, "completed")
    assert read_results("results").settings[0].outputs[0].metrics["test_losses"] == output["test_losses"]


def test_the_tree_lies_beside_the_record_too() -> None:
    output = standard()
    (record,) = find_records(Path("runs"))
    paths = [export_beside(record.folder, "completed") for _ in range(2)]
    assert paths[0] == paths[1], "the later export is in the place of the earlier one"
    (read,) = read_results("runs").outputs
    assert read.metrics["test_losses"] == output["test_losses"]
    together = read_results(".")
    assert len(together) == 1, "one run, whose export is there twice"
    assert not together.duplicates


def test_the_record_can_be_run_again_from_the_command_line() -> None:
    output = standard()
    (record,) = find_records(Path("runs"))
    Path("again.yaml").write_text(json.dumps(record.spec["passed"]))
    assert main(["run", "-q", "again.yaml"]) == 0
    newest = next(iter(find_records(Path("runs"))))
    assert newest.content == record.content
    assert newest.identity == record.identity
    assert output["test_losses"][-1] == newest.final["test/loss"]


def test_the_three_optimizers_of_one_class_are_told_apart() -> None:
    """Facts 1.7, 23."""
    runner = StandardRunner(SGD, MOMENTUM)
    for more in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}):
        runner.run("quadratic_deep", {"lr": 0.01, **more}, num_epochs=1)
    runner.run("quadratic_deep", {"lr": 0.01}, num_epochs=1, optimizer_name="Mine")
    assert {path.name for path in Path("results/quadratic_deep").iterdir()} == {"SGD", "Momentum", "Nesterov", "Mine"}


def test_no_logs_leaves_no_files() -> None:
    assert standard(no_logs=True)["test_losses"]
    assert not list(Path().iterdir())


def test_a_users_optimizer_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("halving.py").write_text("import torch\n\n\nclass Half(torch.optim.SGD):\n    pass\n")
    monkeypatch.syspath_prepend(Path.cwd())
    StandardRunner(importlib.import_module("halving").Half, RATE).run("quadratic_deep", {"lr": 0.01}, num_epochs=1)
    (record,) = find_records(Path("runs"))
    assert record.settings["strategy"]["optimizer"] == {"name": "halving:Half", "lr": 0.01}
    assert Path("results/quadratic_deep/Half").is_dir()


# ------------------------------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize("kind", [StandardRunner, LearningRateScheduleRunner, Loop])
def test_a_diverged_run_ends_there(kind: type[Runner]) -> None:
    """Facts 1.7, 6 and 7: no TypeError, no numbers for epochs that were not trained, and it says so."""

    class Diverging(Loop):
        def training(self, testproblem: Any, hyperparams: dict[str, Any], num_epochs: int, **_: Any) -> dict[str, Any]:
            lists: list[list[float]] = [[] for _ in range(6)]
            self.evaluate_all(0, num_epochs, testproblem, *lists)
            self._abort_routine(0, num_epochs, *lists, [1.0])
            return dict(zip(SIX, lists, strict=True))

    runner = (Diverging if kind is Loop else kind)(SGD, RATE)
    with pytest.warns(RuntimeWarning, match=r"not finite|the loss is|the norm"):
        output = runner.run("quadratic_deep", {"lr": 1e12}, num_epochs=9)
    assert output["status"] == "diverged"
    assert 1 <= len(output["test_losses"]) < 10
    assert len(set(output["test_losses"])) == len(output["test_losses"]), "no number is there twice"
    (path,) = stored()
    assert "NaN" not in path.read_text()
    assert "Infinity" not in path.read_text()
    assert next(iter(find_records(Path("runs")))).status == "diverged"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runner.run("quadratic_deep", {"lr": 1e12}, num_epochs=9, skip_if_exists=True) == output


def test_one_divergence_does_not_mark_the_next_run() -> None:
    class OnceDiverging(Loop):
        def training(self, testproblem: Any, hyperparams: dict[str, Any], num_epochs: int, **_: Any) -> dict[str, Any]:
            output = super().training(testproblem, hyperparams, num_epochs, False)
            if hyperparams["lr"] > 1:
                self._abort_routine(1, num_epochs)
            return output

    runner = OnceDiverging(SGD, RATE)
    with pytest.warns(RuntimeWarning):
        assert runner.run("quadratic_deep", {"lr": 2.0}, num_epochs=1)["status"] == "diverged"
    assert runner.run("quadratic_deep", {"lr": 0.1}, num_epochs=1)["status"] == "completed"


def test_curves_end_before_a_number_that_is_none() -> None:
    class Own(Loop):
        def training(self, testproblem: Any, hyperparams: dict[str, Any], num_epochs: int, **_: Any) -> dict[str, Any]:
            curves = {name: [3.0, 2.0, 1.0] for name in SIX[:3]}
            other = {"minibatch_train_losses": [1.0, float("inf")], "net": testproblem.net, "kept": "so"}
            return {**curves, "test_losses": [3.0, float("nan"), 1.0], **other}

    output = Own(SGD, RATE).run("quadratic_deep", {"lr": 1.0}, num_epochs=2)
    assert [output[name] for name in (*SIX[:3], "minibatch_train_losses")] == [[3.0], [3.0], [3.0], [1.0]]
    assert output["status"] == "diverged"
    assert "not finite after 1 evaluations" in output["notes"][0]
    assert output["kept"] == "so"
    assert "net" not in output
    assert "returned 'net', which JSON cannot hold" in str(next(iter(find_records(Path("runs")))).notes)


def test_an_accuracy_of_zero_stays() -> None:
    """Facts 1.7, 8."""
    Path("never_right.py").write_text(NEVER_RIGHT)
    output = StandardRunner(SGD, RATE).run("never_right", {"lr": 0.01})
    assert output["test_accuracies"] == [0.0, 0.0, 0.0], "and epochs and batch size are the problem's own"
    assert output["batch_size"] == 4


# ---------------------------------------------------------------------------------------------------- skip_if_exists


def test_a_stored_output_is_returned() -> None:
    """Facts 1.7, 9: also where a parameter is a list; and it returns something."""
    runner = LearningRateScheduleRunner(SGD, RATE)
    given = {"hyperparams": {"lr": 0.01}, "num_epochs": 2, "lr_sched_epochs": [1], "lr_sched_factors": [0.1]}
    assert runner.run_exists(testproblem="quadratic_deep", **given) == (False, [])
    first = runner.run("quadratic_deep", **given)
    (path,) = stored()
    assert "__lr_sched_epochs__[1]__lr_sched_factors__[0.1]" in str(path)
    assert runner.run_exists(testproblem="quadratic_deep", **given) == (True, [str(path)])
    assert runner.run("quadratic_deep", skip_if_exists=True, **given) == first
    assert len(stored()) == len(list(find_records(Path("runs")))) == 1


@pytest.mark.parametrize("change", [{"random_seed": 1}, {"batch_size": 64}, {"weight_decay": 0.1}, {"num_epochs": 1}])
def test_another_run_is_not_skipped(change: dict[str, Any]) -> None:
    standard()
    StandardRunner(SGD, MOMENTUM).run(
        **{
            "testproblem": "quadratic_deep",
            "hyperparams": {"lr": 0.01},
            "num_epochs": 2,
            "skip_if_exists": True,
            **change,
        }
    )
    assert len(stored()) == 2


def test_a_run_is_told_by_more_than_its_name() -> None:
    class Unnamed(Loop):
        def _add_training_params_to_output_dir_name(self, training_params: Any, run_folder_name: str) -> str:
            return run_folder_name

    runner = Unnamed(SGD, RATE)
    for clip in (1.0, 2.0, 2.0):
        output = runner.run("quadratic_deep", {"lr": 0.01}, num_epochs=1, skip_if_exists=True, clip=clip)
        assert output["seen"][1] == clip
    assert len(stored()) == 2
    assert len({path.parent for path in stored()}) == 1


def test_a_folder_of_data_means_nothing_to_a_problem_without_files() -> None:
    assert standard(data_dir="nowhere")["status"] == "completed"


def test_a_class_of_a_session_is_known_only_while_it_runs() -> None:
    class Passing(Loop):
        pass

    Passing(SGD, RATE).run("quadratic_deep", {"lr": 0.01}, num_epochs=1)
    assert "Passing" not in [plugin.name for plugin in plugins("benchmark")]


def test_a_run_that_is_repeated_does_not_overwrite() -> None:
    """Facts 1.7, 10."""
    assert standard()["test_losses"] == standard()["test_losses"]
    assert len(stored()) == 2
    results = read_results("results")
    assert len(results) == len(results.duplicates) == 1


# ------------------------------------------------------------------------------- hyperparameters, training parameters


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hyperparams": {"lr": 0.1, "momentun": 0.9}}, "'momentun' is no hyperparameter .* Did you mean 'momentum'"),
        ({"hyperparams": {"lr": 0.1, "eps": 0.9}}, "'eps' is no hyperparameter .* Allowed: lr, momentum, nesterov"),
        ({"hyperparams": {}}, "required: --lr"),
        ({"hyperparams": {"lr": 0.1}, "clip": 1.0}, "'clip' is no training parameter of this runner. It takes none."),
        ({"testproblem": "quadratic_dep"}, "Did you mean 'quadratic_deep'"),
        ({"testproblem": None}, "required: testproblem"),
        ({"hyperparams": {"lr": -1.0}}, "strategy.optimizer.lr"),
        ({"num_epochs": 0}, "budget.epochs"),
        ({"batch_size": 10**6}, "batch_size"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_runs(given: dict[str, Any], said: str) -> None:
    """Facts 1.7, 4 and 5: nothing is dropped in silence."""
    told = {"testproblem": "quadratic_deep", "hyperparams": {"lr": 0.1}, **given}
    with pytest.raises((SpecError, Refused, StrategyFailed), match=said):
        StandardRunner(SGD, MOMENTUM).run(**told)
    assert not stored()


def test_training_parameters_arrive() -> None:
    """Facts 1.7, 4: without a hook for argparse."""
    output = Loop(SGD, RATE).run("quadratic_deep", {"lr": 1}, num_epochs=1, clip=2.5, print_train_iter=True)
    assert output["seen"] == [{"lr": 1.0}, 2.5, True]
    assert output["training_params"] == {"clip": 2.5}
    (path,) = stored()
    assert path.parent.name.endswith("__lr__1.e+00__clip__2.5e+00")
    with pytest.raises(SpecError, match=r"'clap' is no training parameter .* Did you mean 'clip'. Allowed: clip"):
        Loop(SGD, RATE).run("quadratic_deep", {"lr": 1}, num_epochs=1, clap=2.5)


def test_training_parameters_arrive_past_a_hook_that_leaves_them_out() -> None:
    class Silent(Loop):
        def _add_training_params_to_argparse(self, parser: Any, args: Any, training_params: Any) -> None:
            pass

    output = Silent(SGD, RATE).run("quadratic_deep", {"lr": 1}, num_epochs=1, clip=2.5)
    assert output["seen"][1] == output["training_params"]["clip"] == 2.5


def test_two_weight_decays_are_two_things(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW's own reaches AdamW; the problem's penalty is the problem's."""
    runner = StandardRunner(torch.optim.AdamW, {**RATE, "weight_decay": {"type": float, "default": 0.0}})
    runner.run("quadratic_deep", {"lr": 0.01, "weight_decay": 0.5}, num_epochs=1, weight_decay=0.25)
    line = "x.py quadratic_deep -N 1 --lr 0.01 --optimizer_weight_decay 0.5 --weight_decay 0.25"
    monkeypatch.setattr(sys, "argv", line.split())
    runner.run(parse_cli=True)
    for record in find_records(Path("runs")):
        assert record.settings["strategy"]["optimizer"]["weight_decay"] == 0.5
        assert record.settings["task"]["weight_decay"] == 0.25
        assert record.curve("penalty")
    assert len(read_results("results").duplicates) == 1, "both are one run"


def test_the_schedule_is_relative_to_the_base_rate() -> None:
    given = {"num_epochs": 3, "lr_sched_epochs": [1, 2], "lr_sched_factors": [0.1, 0.5], "train_log_interval": 1}
    output = LearningRateScheduleRunner(SGD, RATE).run("quadratic_deep", {"lr": 0.01}, **given)
    (record,) = find_records(Path("runs"))
    rates = [round(point.value, 6) for point in record.curve("train/lr")]
    assert rates == [0.01] * 7 + [0.001] * 7 + [0.005] * 7
    assert len(output["minibatch_train_losses"]) == 21, "facts 1.7, 22: each step once"


def test_tensorboard_is_an_extra_that_is_named() -> None:
    """Facts 1.7, 22: with either runner."""
    given = {"num_epochs": 1, "tb_log": True, "tb_log_dir": "board"}
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match="tensorboard"):
            LearningRateScheduleRunner(SGD, RATE).run("quadratic_deep", {"lr": 0.01}, **given)
        assert not list(Path().iterdir())
    else:
        LearningRateScheduleRunner(SGD, RATE).run("quadratic_deep", {"lr": 0.01}, **given)
        assert list(Path("board").iterdir())


# -------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize("started", ["pytest", __file__])
def test_the_command_line_of_another_is_not_ours(monkeypatch: pytest.MonkeyPatch, started: str) -> None:
    """Facts 1.7, 3: that of pytest, or of a script that imports the caller."""
    monkeypatch.setattr(sys, "argv", [started, "-q", "tests/", "--lr", "9"])
    assert standard()["optimizer_hyperparams"]["lr"] == 0.01


@pytest.mark.parametrize(
    ("flags", "expected"), [("", True), ("--nesterov", True), ("--no-nesterov", False), ("--no-nesterov -r 3", False)]
)
def test_truth_values_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, flags: str, expected: bool) -> None:
    """Facts 1.7, 11."""
    monkeypatch.setattr(sys, "argv", f"x.py quadratic_deep -N 1 --lr 0.01 {flags}".split())
    more = {"momentum": {"type": float, "default": 0.5}, "nesterov": {"type": bool, "default": True}}
    runner = StandardRunner(SGD, {**RATE, **more})
    assert runner.run(parse_cli=True)["optimizer_hyperparams"]["nesterov"] is expected


def test_lists_and_short_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "x.py quadratic_deep --bs 64 -N 3 -r 5 --wd 0.1 --lr 1e-2 --lr_sched_epochs 1 2 --lr_sched_factors 0.1 0.01"
    monkeypatch.setattr(sys, "argv", line.split())
    output = LearningRateScheduleRunner(SGD, RATE).run(parse_cli=True)
    assert (output["batch_size"], output["num_epochs"], output["random_seed"], output["weight_decay"]) == (
        64,
        3,
        5,
        0.1,
    )
    assert output["training_params"] == {"lr_sched_epochs": [1, 2], "lr_sched_factors": [0.1, 0.01]}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("quadratic_deep", "required: --lr"),
        ("quadratic_deep --lr x", "argument --lr: invalid float value: 'x'"),
        ("quadratic_deep --lr 0.1 --momentun 0.9", "unrecognized arguments: --momentun 0.9"),
        ("quadratic_dep --lr 0.1", "Did you mean 'quadratic_deep'"),
    ],
)
def test_wrong_flags_end_with_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["x.py", *line.split()])
    with pytest.raises(SystemExit) as caught:
        StandardRunner(SGD, MOMENTUM).run(parse_cli=True)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(Path().glob("r*"))


def test_parse_args_is_what_run_works_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x.py", "quadratic_deep", "--lr", "0.5"])
    args = Loop(SGD, MOMENTUM).parse_args(None, {"momentum": 0.1}, *[None] * 11, {"clip": 3.0})
    assert args["hyperparams"] == {"lr": 0.5, "momentum": 0.1, "nesterov": False}
    assert (args["testproblem"], args["random_seed"], args["output_dir"], args["clip"]) == (
        "quadratic_deep",
        42,
        "./results",
        3.0,
    )


# -------------------------------------------------------------------------------- a runner by the recipe, in all ways


def test_a_script_and_regimen_run_leave_the_same_metrics(tmp_path: Path) -> None:
    path = tmp_path / "my_runner.py"
    path.write_text(GUARDED)
    script(path, "quadratic_deep", "--lr", "0.01", "-N", "2", "--clip", "100")
    (by_script,) = find_records(tmp_path / "runs")
    description = {
        "task": {"name": "quadratic_deep"},
        "strategy": {"name": "./my_runner.py", "optimizer": {"name": "sgd", "lr": 0.01}, "clip": 100.0},
        "budget": {"epochs": 2},
        "seed": 42,
    }
    Path("run.yaml").write_text(json.dumps(description))
    assert main(["run", "-q", "run.yaml"]) == 0
    (by_command,) = [record for record in find_records(Path("runs")) if record.id != by_script.id]
    assert by_script.identity == by_command.identity
    assert by_script.content == by_command.content
    (file,) = stored()
    output = json.loads(file.read_text())
    assert output["test_losses"] == [point.value for point in by_command.curve("test/loss")]
    assert output["clipped_at"] == 100.0, "whatever else the loop returned is kept"
    assert file.parent.name == "num_epochs__2__batch_size__128__lr__1.e-02__clipped_at__100.0", "the hook's name"


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    path = tmp_path / "bare.py"
    path.write_text(HEAD + CALL)
    script(path, "quadratic_deep", "--lr", "0.01", "-N", "1")
    assert len(list(find_records(tmp_path / "runs"))) == len(stored()) == 1
    with pytest.raises(StrategyFailed, match=r"calls run\(\) while it is being loaded.*__main__"):
        regimen.run({"task": "quadratic_deep", "strategy": {"name": "./bare.py", "clip": None}})


def test_a_script_ends_with_a_message_and_a_code(tmp_path: Path) -> None:
    path = tmp_path / "my_runner.py"
    path.write_text(GUARDED)
    said = script(path, "quadratic_deep", code=2)
    assert "--lr" in said
    assert "Traceback" not in said


OPTIMIZER = {"name": "sgd", "lr": 0.01, "momentum": 0.9}


def test_a_new_runner_trains_as_the_standard_one_does() -> None:
    write("runner", "mine", Path())
    specs = [
        {"task": "quadratic_deep", "strategy": {"name": name, "optimizer": OPTIMIZER}, "budget": {"epochs": 3}}
        for name in ("mine", "standard")
    ]
    mine, usual = (regimen.run(spec) for spec in specs)
    for split in ("train_eval", "valid", "test"):
        assert mine.curve(f"{split}/loss") == usual.curve(f"{split}/loss")


def test_a_runner_written_for_one_optimizer_says_so() -> None:
    fixed = (
        HEAD.replace("class ", "class _").replace("_Clipping", "Clipping")
        + "    def __init__(self):\n        super().__init__(torch.optim.Adam, {})\n"
    )
    Path("fixed.py").write_text(fixed)
    spec = {"task": "quadratic_deep", "strategy": {"name": "./fixed.py"}}
    with pytest.raises(StrategyFailed, match=r"is written for Adam, and strategy.optimizer is SGD.*adam"):
        regimen.run(spec)


def test_a_users_problem_with_a_mistake_is_named() -> None:
    """Facts 1.7, 21: a bare except hid what is wrong in a user's file."""
    Path("mistaken.py").write_text(NEVER_RIGHT.replace("import torch\n", "import torch\n\nunknown_word\n", 1))
    with pytest.raises(StrategyFailed, match=r"mistaken\.py:\d+: cannot be loaded: NameError"):
        StandardRunner(SGD, RATE).run("mistaken", {"lr": 0.1})


# --------------------------------------------------------------------------------------------------- parts by hand


def test_a_test_problem_by_hand() -> None:
    problem = PTRunner.create_testproblem("quadratic_deep", 100, None, 42)
    loss, accuracy = PTRunner.evaluate(problem, "TEST")
    (by_run,) = [standard()["test_losses"][0]]
    assert (loss, accuracy) == (by_run, 0.0)
    assert problem.batch_size == 100


def test_an_output_by_hand_is_strict() -> None:
    with pytest.raises(RecordError, match="cannot be written as JSON"):
        StandardRunner.write_output({"test_losses": [float("nan")]}, "there", "random_seed__1__x")
    assert not list(Path().rglob("*.json"))


def test_the_facade_imports_nothing_before_it_is_asked() -> None:
    """Facts 1.7, 1."""
    code = "import sys, regimen.deepobs; print({'torch', 'matplotlib', 'scipy', 'tensorflow'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"


def test_records_of_runners_are_ordinary() -> None:
    standard()
    (record,) = find_records(Path("runs"))
    assert isinstance(record, Record)
    assert record.name == "quadratic_deep · standard · seed 42"
    assert main(["show", str(record.folder)]) == 0
