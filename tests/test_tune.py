"""`regimen tune`: what is tried, what is chosen, what the report says, and that nothing is lost or counted twice."""

from __future__ import annotations

import itertools
import json
import math
import shlex
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import regimen
from regimen.cli import main
from regimen.errors import Diverged, Refused, SpecError, StrategyFailed
from regimen.study.commands import write_commands
from regimen.study.description import read_tune
from regimen.study.estimate import estimated
from regimen.study.methods import METHODS, Bayesian, Grid, Halton, Halving, Random, Sobol, method_settings
from regimen.study.outcome import judged
from regimen.study.ranking import standings
from regimen.study.replay import replay
from regimen.study.space import Range, dimension_of
from regimen.study.trial import Place, Reached, Trial
from regimen.study.triallog import read_log
from regimen.study.tuners import make_tuner, rungs, settings_of
from regimen.study.tuning import tune
from regimen.study.warmprocess import WarmProcess
from regimen.walking import files_below
from warm import Warm

LR = "strategy.optimizer.lr"
RATES = [1e-3, 1e-2, 1e9]
"""Slow, right, and one that diverges at once."""


def description(**tune: Any) -> dict[str, Any]:
    usual = {"space": {LR: RATES}, "seeds": [42, 7], "rerun_seeds": [1, 2], "processes": 2}
    return {
        "task": "quadratic_deep",
        "strategy": {"name": "standard", "optimizer": {"name": "sgd"}},
        "budget": {"epochs": 3},
        "tune": usual | tune,
    }


def write(name: str = "tune.yaml", body: Mapping[str, Any] | None = None, **tune: Any) -> str:
    Path(name).write_text(yaml.safe_dump(dict(body or description(**tune)), sort_keys=False))
    return name


def trials(folder: str = "studies/tune") -> list[Trial]:
    return read_log(Path(folder))[1]


def report(folder: str = "studies/tune") -> dict[str, Any]:
    body: dict[str, Any] = json.loads((Path(folder) / "report.json").read_text())
    return body


def values(folder: str = "studies/tune") -> dict[Any, Any]:
    """What a study found out, without what differs from one time to another."""
    return {t.place: (t.status, t.value, t.curve, t.content, dict(t.setting)) for t in trials(folder)}


@pytest.fixture(scope="module")
def forge() -> Iterator[WarmProcess]:
    """One process that all studies of these tests fork their runs from: PyTorch is imported once."""
    with WarmProcess() as process:
        yield process


@pytest.fixture(scope="module")
def done(forge: WarmProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that is done."""
    folder = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        tune(write(), warm=forge)
    return folder


@pytest.fixture
def study(done: Path, tmp_path: Path) -> Path:
    """The same in the folder of the test."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path


# ------------------------------------------------------------------------------------------------ the protocol


def test_the_numbers_are_those_of_fresh_seeds(study: Path) -> None:
    (task,) = report()["tasks"]
    assert task["best"]["setting"] == {LR: 1e-2}
    assert {name: summary["n"] for name, summary in task["results"].items()} == dict.fromkeys(
        ("test/loss", "train_eval/loss", "valid/loss"), 2
    )
    runs = {t.place.seed: regimen.load(Path("studies/tune") / t.folder) for t in trials() if t.place.purpose == "rerun"}
    assert set(runs) == {1, 2}
    for name, summary in task["results"].items():
        expected = {str(seed): record.curves[name][-1].value for seed, record in runs.items()}
        assert summary["values"] == expected
        assert summary["mean"] == pytest.approx(sum(expected.values()) / 2)


def test_test_numbers_are_in_the_report_alone(study: Path) -> None:
    assert "test/loss" in Path("studies/tune/report.txt").read_text()
    assert "test/" not in Path("studies/tune/trials.jsonl").read_text()


def test_a_diverged_setting_has_no_number_and_comes_last(study: Path) -> None:
    (task,) = report()["tasks"]
    assert [each["setting"][LR] for each in task["standings"]] == [1e-2, 1e-3, 1e9]
    assert task["standings"][-1]["value"] is None
    assert task["statuses"] == {"completed": 4, "diverged": 2}
    for trial in trials():
        assert (trial.value is None) == (trial.status == "diverged")
        assert len(trial.curve) == (1 if trial.status == "diverged" else 4)


def test_what_it_cost_is_counted(study: Path) -> None:
    for trial in trials():
        if trial.status == "completed":
            assert trial.epochs == 3
    (task,) = report()["tasks"]
    assert task["cost"]["tuning"]["runs"] == 6
    assert 12 <= task["cost"]["tuning"]["epochs"] < 18
    assert task["cost"]["reruns"]["epochs"] == 6


def test_checkpoints_of_tuning_go_and_those_of_the_result_stay(study: Path) -> None:
    for trial in trials():
        kept = list((Path("studies/tune") / trial.folder).glob("checkpoints/step-*"))
        assert bool(kept) == (trial.place.purpose == "rerun")


def test_a_run_of_a_study_is_the_run_of_its_description(study: Path) -> None:
    trial = next(t for t in trials() if t.place.purpose == "tuning" and t.status == "completed")
    body = {key: value for key, value in description().items() if key != "tune"}
    body["strategy"]["optimizer"]["lr"] = trial.setting[LR]
    record = regimen.run(body | {"seed": trial.place.seed, "threads": 1, "checkpoint": {"every": 10}})
    assert record.content == trial.content
    assert record.identity == regimen.load(Path("studies/tune") / trial.folder).identity


def test_warnings_name_edges_and_few_seeds(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("studies/tune/report.txt").read_text()
    assert "2 fresh seeds say little" in text
    assert "edge" not in text  # 0.01 lies between the others
    dimension = dimension_of({"low": 1e-3, "high": 1.0, "log": True, "points": 4})
    assert [dimension.edge(value, drawn=False) for value in dimension.grid()] == ["low", None, None, "high"]  # type: ignore[union-attr]
    assert dimension.edge(1.1e-3, drawn=True) == "low"
    assert dimension_of([1, 2, 3]).edge(3, drawn=False) == "high"
    assert dimension_of([True, False, True]).edge(True, drawn=False) is None


def tried(number: int, seed: int, value: float | None, rung: int = 0) -> Trial:
    place = Place("quadratic_deep", "tuning", number, rung, seed)
    return Trial(place, {LR: number}, "diverged" if value is None else "completed", value, (), 1.0, 0.1)


def test_settings_are_ranked_by_what_all_seeds_say() -> None:
    found = [
        tried(0, 1, 9.0),
        tried(0, 2, 5.0),
        tried(1, 1, 1.0),
        tried(1, 2, None),
        tried(2, 1, 6.0),
        tried(2, 2, 6.0),
    ]
    assert [each.number for each in standings(found, over="mean", mode="min")] == [2, 0, 1]
    assert [each.number for each in standings(found, over="mean", mode="max")] == [0, 2, 1]
    found += [tried(0, 3, 0.0), tried(2, 3, 6.0), tried(1, 3, 1.0)]
    assert [each.number for each in standings(found, over="mean", mode="min")] == [0, 2, 1]
    assert [each.value for each in standings(found, over="median", mode="min")] == [5.0, 6.0, None]
    # One that went further comes first, unless it diverged there: then its shorter rival is what there is.
    assert [each.number for each in standings([*found, tried(2, 1, 7.0, 1)], over="mean", mode="min")] == [2, 0, 1]
    assert [each.number for each in standings([*found, tried(0, 1, None, 1)], over="mean", mode="min")] == [2, 0, 1]


# ------------------------------------------------------------------------------------------------ going on


def test_what_is_lost_of_the_log_is_found_again(study: Path, forge: WarmProcess) -> None:
    expected, folders = values(), sorted(Path("studies").rglob("spec.yaml"))
    log = Path("studies/tune/trials.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:4]) + lines[4][:50])  # killed while a line was written
    tune("tune.yaml", warm=forge)
    assert values() == expected
    assert sorted(Path("studies").rglob("spec.yaml")) == folders, "something was trained again"
    assert sum(trial.found for trial in trials()) == len(lines) - 4


def test_another_description_is_refused_and_names_what_changed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("studies/tune/trials.jsonl").read_bytes()
    assert main(["tune", "tune.yaml", "--set", "budget.epochs=4"]) == 3
    assert "quadratic_deep.budget.epochs was 3 and is 4" in capsys.readouterr().err
    assert main(["tune", "tune.yaml", "--set", "tune.rerun_seeds=[1]"]) == 3
    assert "tune.rerun_seeds was [1, 2] and is [1]" in capsys.readouterr().err
    assert Path("studies/tune/trials.jsonl").read_bytes() == before


def test_more_fresh_seeds_are_added_and_the_choice_stays(study: Path, forge: WarmProcess) -> None:
    expected = values()
    tune("tune.yaml", ["tune.rerun_seeds=[1,2,3]", "tune.processes=1"], warm=forge)
    assert values().items() >= expected.items()
    assert report()["tasks"][0]["results"]["test/loss"]["n"] == 3
    assert main(["tune", "tune.yaml", "--quiet"]) == 3, "a seed that was looked at cannot be taken back"


def test_a_damaged_log_is_named(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Path("studies/tune/trials.jsonl")
    lines = log.read_text().splitlines()
    lines[2] = "nonsense"
    log.write_text("\n".join(lines) + "\n")
    assert main(["tune", "tune.yaml"]) == 2
    assert "trials.jsonl:3: is not a line of a study's log" in capsys.readouterr().err


@pytest.fixture(scope="module")
def long(forge: WarmProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A study with time to be stopped in, and what it finds out when nobody stops it."""
    body = description(method={"name": "halving", "eta": 2, "min_epochs": 20}, seeds=[42], rerun_seeds=[1])
    body |= {"budget": {"epochs": 100}, "checkpoint": {"every": 50}}
    body["tune"]["space"] = {LR: [1e-2, 1e-3]}
    folder = tmp_path_factory.mktemp("long")
    tune(body | {"output": str(folder)}, warm=forge)
    return {"description": body, "values": values(str(folder))}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_study_goes_on_to_the_same_end(
    warm: Warm, forge: WarmProcess, long: dict[str, Any], number: int
) -> None:
    write(body=long["description"])
    child = warm.start("tune", "tune.yaml")
    deadline = time.monotonic() + 120
    while (
        not any("step-50" in path.parts for path in files_below(Path("studies")))
        and child.running
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    child.kill(number)
    ended = child.wait()
    assert ended.code == (5 if number == signal.SIGINT else -number), ended.err
    assert len(trials()) < 4, "it ended before it was stopped"
    tune("tune.yaml", warm=forge)
    assert values() == long["values"]
    assert any(regimen.load(Path("studies/tune") / trial.folder).resumes for trial in trials())


# ------------------------------------------------------------------------------------------------ halving


def test_a_promoted_setting_goes_on_to_the_same_numbers(forge: WarmProcess) -> None:
    method = {"name": "halving", "eta": 2}
    body = description(method=method, seeds=[42], rerun_seeds=[], space={LR: [1e-3, 3e-3, 1e-2, 1e9]})
    for go_on in (True, False):
        body["tune"]["method"] = method | {"go_on": go_on}
        body["budget"]["epochs"] = 8
        tune(write(body=body), [f"output=studies/{go_on}"], warm=forge)
    assert values("studies/True") == values("studies/False")
    per_rung = [sum(t.place.rung == rung for t in trials("studies/True")) for rung in range(3)]
    assert per_rung == [4, 2, 1]
    cost = [report(f"studies/{go_on}")["tasks"][0]["cost"]["tuning"]["epochs"] for go_on in (True, False)]
    assert cost[1] - cost[0] == pytest.approx(2 * 2 + 1 * 4)  # what was trained twice
    assert "no rerun with fresh seeds" in Path("studies/True/report.txt").read_text()


def test_a_rate_that_follows_the_budget_cannot_go_on(forge: WarmProcess) -> None:
    body = description(method={"name": "halving", "eta": 2}, seeds=[0], rerun_seeds=[], space={LR: [1e-3, 1e-4]})
    body |= {
        "task": {"name": "sorting", "train_rows": 16, "valid_rows": 4, "metrics": [], "samples": 0},
        "strategy": {"name": "sft", "tuning": "full", "batch_size": 8},
        "budget": {"epochs": 2},
    }
    said: list[str] = []
    tune(write(body=body), say=said.append, warm=forge)
    assert "each rung trains from the start: the learning rate follows the budget" in said[0]
    assert [t.epochs for t in trials()] == [1, 1, 2]
    with pytest.raises(Refused, match="a shorter run is no beginning of a longer one"):
        tune("tune.yaml", ["tune.method.go_on=true", "output=studies/other"], warm=forge)
    assert not Path("studies/other").exists()


# ------------------------------------------------------------------------------------------------ what goes wrong


TROUBLE = '''
import os
from typing import Literal
from regimen.strategies.benchmark.standard import StandardRunner


class Trouble(StandardRunner):
    """Fails on purpose."""

    name = "trouble"
    trouble: Literal["none", "raises", "crashes"] = "none"

    def training(self, testproblem, hyperparams, num_epochs, **training_params):
        if self.trouble == "raises":
            raise ValueError("the frobnicator is empty")
        if self.trouble == "crashes":
            os._exit(9)
        return super().training(testproblem, hyperparams, num_epochs)
'''


def test_a_crash_is_one_runs_failure(forge: WarmProcess) -> None:
    Path("trouble.py").write_text(TROUBLE)
    body = description(seeds=[42], space={"strategy.trouble": ["crashes", "raises", "none"]})
    body["strategy"] = {"name": "./trouble.py", "optimizer": {"name": "sgd", "lr": 1e-2}}
    body["task"] = ["quadratic_deep", {"name": "two_d_branin"}]
    tune(write(body=body), warm=forge)
    for task, strategy in (("quadratic_deep", "./trouble.py"), ("two_d_branin", "./trouble.py")):
        found = {t.setting["strategy.trouble"]: t for t in trials() if t.place[:2] == (task, "tuning")}
        assert {name: t.status for name, t in found.items()} == {
            "crashes": "failed",
            "raises": "failed",
            "none": "completed",
        }
        assert "code 9" in found["crashes"].message
        assert "the frobnicator is empty" in found["raises"].message
        (told,) = [each for each in report()["tasks"] if each["task"] == task]
        assert told["strategy"] == strategy
        assert told["best"]["setting"] == {"strategy.trouble": "none"}


def test_a_study_without_hope_ends(forge: WarmProcess) -> None:
    Path("trouble.py").write_text(TROUBLE)
    body = description(seeds=[1, 2, 3, 4, 5, 6, 7, 8], rerun_seeds=[], space={"strategy.trouble": ["raises"]})
    body["strategy"] = "./trouble.py"
    with pytest.raises(StrategyFailed, match="the first 5 runs failed, the last with:"):
        tune(write(body=body), warm=forge)
    assert len(trials()) == 5


def test_a_study_in_which_all_diverges_says_so(forge: WarmProcess) -> None:
    with pytest.raises(Diverged, match="no setting trained to the end"):
        tune(write(space={LR: [1e8, 1e9]}, seeds=[5]), warm=forge)
    (task,) = report()["tasks"]
    assert task["best"] is None
    assert task["statuses"] == {"diverged": 2}


def test_wrong_settings_are_named_with_their_lines_and_leave_nothing(forge: WarmProcess) -> None:
    Path("tune.yaml").write_text(
        "task: quadratic_deep\n"
        "strategy: {name: standard, optimizer: sgd, frob: 1}\n"
        "tune:\n"
        "  space:\n"
        "    strategy.optimizer.lrr: [1, 2]\n"
        "    strategy.optimizer.momentum: [0.9, -1]\n"
    )
    with pytest.raises(SpecError) as caught:
        tune("tune.yaml", warm=forge)
    told = str(caught.value)
    assert "tune.yaml:5 tune.space.strategy.optimizer.lrr: is no hyperparameter of sgd. Did you mean 'lr'?" in told
    assert "tune.yaml:6 tune.space.strategy.optimizer.momentum: is -1; sgd does not take it" in told
    assert "tune.yaml:2 strategy.frob: is not a setting." in told
    assert len(caught.value.problems) == 3
    assert [path.name for path in Path().iterdir()] == ["tune.yaml"]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"metric": "test/loss"}, 3, "choosing by test numbers makes them no test any more"),
        ({"metric": "train/loss"}, 3, "rewards overfitting"),
        ({"metric": "valid/accuracy"}, 2, "is valid/accuracy better when larger?"),
        ({"rerun_seeds": [41, 42]}, 2, "has 42, which tuning uses"),
        ({"seeds": [1, 1]}, 2, "a seed twice is one seed"),
        ({"space": {}}, 2, "is empty"),
        ({"space": 5}, 2, "expected settings paths"),
        ({"space": {LR: 0.1}}, 2, "neither a range nor a list"),
        ({"space": {LR: {"low": 1, "high": 2}}}, 2, "does not say how many points"),
        ({"space": {LR: {"low": 2, "high": 1, "points": 3}}}, 2, "not above its low end"),
        ({"space": {LR: {"low": 0, "high": 1, "log": True, "points": 3}}}, 2, "lies above 0"),
        ({"space": {LR: {"low": 1, "high": 2, "poins": 3}}}, 2, "Did you mean 'points'?"),
        ({"space": {"seed": [1, 2]}}, 2, "does not vary"),
        ({"space": {"budget.epochs": [1, 2]}}, 2, "does not vary"),
        ({"method": "grod"}, 2, "Did you mean 'grid'?"),
        ({"method": {"name": "random"}}, 2, "lacks `trials`"),
        ({"method": {"name": "halving", "draw": "random"}}, 2, "how many settings are drawn"),
        ({"method": {"name": "halving", "etta": 2}}, 2, "Did you mean 'eta'?"),
        ({"sedds": [1]}, 2, "Did you mean 'seeds'?"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    change: dict[str, Any], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", write(**change)]) == code
    told = capsys.readouterr().err
    assert words in told
    assert "tune.yaml:" in told
    assert not Path("studies").exists()


def test_tasks_and_sets_of_them() -> None:
    assert list(read_tune(description() | {"task": "small"}).bases) == [
        "quadratic_deep",
        "mnist_vae",
        "fmnist_2c2d",
        "cifar10_3c3d",
    ]
    assert list(read_tune(description() | {"task": ["a", {"name": "b"}]}).bases) == ["a", "b"]
    for wrong in (["a", "a"], 3, [], {"nam": "a"}):
        with pytest.raises(SpecError):
            read_tune(description() | {"task": wrong})


# ------------------------------------------------------------------------------------------------ elsewhere


def test_commands_run_elsewhere_are_found(forge: WarmProcess) -> None:
    space = {"strategy.optimizer.nesterov": [True, False], "strategy.optimizer_name": ["a b", "c"]}
    body = description(space=space, seeds=[42], rerun_seeds=[1])
    body["strategy"]["optimizer"] |= {"lr": 1e-2, "momentum": 0.5}
    write(body=body)
    write_commands("tune.yaml", Path("jobs.txt"), warm=forge)
    lines = Path("jobs.txt").read_text().splitlines()
    assert len(lines) == 4
    assert "--set strategy.optimizer.nesterov=true" in lines[0]
    assert "--set strategy.optimizer.nesterov=false" in lines[-1]
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "regimen"
        assert main(words) == 0
    write_commands("tune.yaml", Path("jobs.txt"), warm=forge)
    (rerun,) = Path("jobs.txt").read_text().splitlines()
    assert "--set seed=1" in rerun
    assert all(trial.found for trial in trials())
    assert [trial.setting["strategy.optimizer_name"] for trial in sorted(trials(), key=lambda t: t.place)] == [
        "a b",
        "c",
        "a b",
        "c",
    ]
    assert len({trial.folder for trial in trials()}) == 4


def test_a_run_that_is_going_on_elsewhere_is_waited_for(forge: WarmProcess, warm: Warm) -> None:
    write(body=description(space={LR: [1e-2]}, seeds=[42], rerun_seeds=[]) | {"budget": {"epochs": 150}})
    write_commands("tune.yaml", Path("jobs.txt"), warm=forge)
    child = warm.start(*shlex.split(Path("jobs.txt").read_text())[1:])
    while not files_below(Path("studies"), "status.json") and child.running:
        time.sleep(0.01)
    tune("tune.yaml", warm=forge)
    assert child.wait().code == 0
    assert len(list(Path("studies").rglob("spec.yaml"))) == 1
    assert trials()[0].found


def test_a_dry_run_lists_and_estimates_and_leaves_nothing(forge: WarmProcess) -> None:
    told = estimated(write(method={"name": "halving", "eta": 3}), warm=forge).text()
    assert "quadratic_deep strategy.optimizer.lr=0.001 budget.epochs=1 seed=42" in told
    assert "at most 10 runs" in told
    assert "of training" in told
    assert [path.name for path in Path().iterdir()] == ["tune.yaml"]


def test_the_command_does_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", write(seeds=[42], rerun_seeds=[1]), "--commands", "jobs.txt"]) == 0
    assert capsys.readouterr().out.startswith("wrote 3 commands to jobs.txt.")
    assert main(["tune", "tune.yaml"]) == 0
    told = capsys.readouterr()
    assert "  best    strategy.optimizer.lr = 0.01\n" in told.out
    assert "[4/4] quadratic_deep · rerun · lr 0.01 · seed 1: completed, valid/loss " in told.err
    assert main(["tune", "tune.yaml", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out) == report()


# ------------------------------------------------------------------------------------------------ tuners


def asked_of(method: Any, space: dict[str, Any], value: Any, epochs: float = 100) -> list[tuple[dict[str, Any], int]]:
    """What a tuner asks, in order, where a setting's score is `value(setting)`."""
    tuner, scores, asked = make_tuner(method, space, epochs), dict[tuple[int, int], float](), list[Any]()
    while wishes := tuner.wishes(scores):
        assert not any((wish.number, wish.rung) in scores for wish in wishes)
        for wish in wishes:
            scores[wish.number, wish.rung] = value(wish.setting)
            asked.append((dict(wish.setting), wish.rung))
    return asked


SPACE = {
    LR: Range(low=1e-5, high=1e2, log=True, points=8),
    "layers": Range(low=1, high=4, whole=True, points=4),
    "nesterov": dimension_of([True, False]),
}


@pytest.mark.parametrize("method", [Grid(), Random(trials=20), Halton(trials=20), Sobol(trials=20), Halving()])
def test_the_same_description_tries_the_same(method: Any) -> None:
    space = dict(SPACE)
    asked = asked_of(method, space, lambda setting: setting[LR])
    assert asked == asked_of(method, space, lambda setting: setting[LR])
    for setting, _ in asked:
        assert 1e-5 <= setting[LR] <= 1e2
        assert setting["layers"] in (1, 2, 3, 4)
        assert setting["nesterov"] in (True, False)
    if not isinstance(method, Grid | Halving):
        assert asked != asked_of(method.model_copy(update={"seed": 1}), space, lambda setting: setting[LR])


def test_a_bayesian_tuner_comes_nearer_and_goes_on_from_a_log() -> None:
    pytest.importorskip("optuna")
    method, space = Bayesian(trials=14, startup=6, batch=2), {LR: SPACE[LR]}

    def value(setting: dict[str, Any]) -> float:
        if setting[LR] > 10:
            return math.inf  # diverged
        return (math.log10(setting[LR]) + 2) ** 2

    asked = asked_of(method, space, value)
    distance = [abs(math.log10(setting[LR]) + 2) for setting, _ in asked]
    assert sum(distance[8:]) / 6 < 0.3 < sum(distance[:6]) / 6
    scores = {(number, 0): value(setting) for number, (setting, _) in enumerate(asked)}
    known = {place: score for place, score in scores.items() if place[0] < 10}
    (first, _) = make_tuner(method, space, None).wishes(known)
    assert dict(first.setting) == asked[10][0]


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 200), epochs=st.integers(1, 400), eta=st.floats(1.5, 6), least=st.integers(1, 20))
def test_rungs_narrow_and_end_with_the_whole_budget(count: int, epochs: int, eta: float, least: int) -> None:
    found = rungs(count, epochs, eta, least)
    assert found[0].settings == count
    assert found[-1].epochs == epochs
    assert all(a.settings >= b.settings and a.epochs < b.epochs for a, b in itertools.pairwise(found))
    assert all(rung.epochs >= min(least, epochs) and rung.settings >= 1 for rung in found)


@settings(max_examples=100, deadline=None)
@given(low=st.floats(1e-6, 1e3), factor=st.floats(1.01, 1e6), part=st.floats(0, 1), log=st.booleans())
def test_a_range_stays_within_its_ends(low: float, factor: float, part: float, log: bool) -> None:
    each = Range(low=low, high=low * factor, log=log, points=5)
    assert low * (1 - 1e-9) <= each.at(part) <= low * factor * (1 + 1e-9)
    grid = each.grid()
    assert grid == sorted(grid)
    assert grid[0] == pytest.approx(low)
    assert grid[-1] == pytest.approx(low * factor)


def test_equal_draws_are_tried_once() -> None:
    assert len(settings_of(Random(trials=50), {"a": dimension_of([1, 2])})) == 2
    assert set(METHODS) == {"grid", "listed", "random", "halton", "sobol", "bayesian", "halving"}
    listed = method_settings({"name": "listed", "settings": [{"a": 1}, {"a": 2}, {"a": 1}]})
    assert settings_of(listed, {}) == [{"a": 1}, {"a": 2}]


def test_the_best_epoch_is_not_the_untrained_model() -> None:
    curve = [Reached(epoch, value) for epoch, value in enumerate([0.1, 3.0, 2.0, 2.5])]
    assert judged(curve, "best", "min") == 2.0
    assert judged(curve, "best", "max") == 3.0
    assert judged(curve, "final", "min") == 2.5
    assert judged([*curve, Reached(4, math.nan)], "final", "min") is None


# ------------------------------------------------------------------------------------------------ replay


def curve(rate: float, seed: int) -> Iterator[float]:
    """A loss that falls to the distance of the rate from 0.01, and overflows above 1."""
    for epoch in range(28):
        yield math.inf if rate > 1 and epoch > 2 else abs(math.log10(rate) + 2) + 1 / (epoch + 1) + 1e-3 * seed


def test_protocols_are_compared_without_training() -> None:
    rates = [10 ** (-5 + 7 * index / 26) for index in range(27)]
    curves = {rate: {seed: list(curve(rate, seed)) for seed in (0, 1)} for rate in rates}
    grid = replay(curves, Grid(), epochs=27, seeds=(0, 1))
    halving = replay(curves, Halving(eta=3), epochs=27, seeds=(0, 1))
    again = replay(curves, Halving(eta=3, go_on=False), epochs=27, seeds=(0, 1))
    diverging = sum(rate > 1 for rate in rates)
    assert grid.best == halving.best == again.best == min(rates, key=lambda rate: abs(math.log10(rate) + 2))
    assert grid.tuning_epochs == 2 * (27 * (27 - diverging) + 3 * diverging)
    assert halving.tuning_epochs == 2 * (27 * 1 + 9 * 2 + 3 * 6 + 1 * 18)
    assert again.tuning_epochs == 2 * (27 + 9 * 3 + 3 * 9 + 27)
    assert grid.rerun_epochs == 10 * 27
    assert all(each.value is None for each in grid.standings[-diverging:])


def test_halving_costs_at_most_35_percent_of_the_published_protocol(data_dir: Path) -> None:
    """36 rates for 100 epochs on one seed and nine more seeds of the best, against halving and ten fresh seeds."""
    from regimen.benchmark.files import read_results

    runs = tuple(read_results(data_dir / "deepobs_baselines" / "epoch_metrics.jsonl.gz").outputs)
    for problem, metric, mode in (("quadratic_deep", "test_losses", "min"), ("fmnist_2c2d", "test_accuracies", "max")):
        for optimizer in {run.optimizer_name for run in runs if run.testproblem == problem}:
            curves: dict[float, dict[int, list[float]]] = {}
            for run in runs:
                if (run.testproblem, run.optimizer_name) == (problem, optimizer):
                    curves.setdefault(run.hyperparams["lr"], {})[run.random_seed] = run.metrics[metric]
            curves = {rate: by_seed for rate, by_seed in curves.items() if 42 in by_seed}
            found = replay(curves, Halving(), epochs=100, mode=mode)  # type: ignore[arg-type]
            assert len(curves) == 36
            assert found.epochs <= 0.35 * (36 * 100 + 9 * 100)
