"""`regimen analyze`: the published table to every digit, honest choices, and what is said against each number."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarked import bench_run, grid
from regimen.analysis.pairs import Compared, differences, holm
from regimen.analysis.reading import read_runs
from regimen.analysis.spread import spread
from regimen.analysis.summary import OptimizerResult, Question, Summary, summarize
from regimen.cli import main

PUBLISHED = {
    # mean, std, best learning rate, DeepOBS' "speed"
    ("quadratic_deep", "GradientDescentOptimizer"): ("87.3975", "0.1690", "1.58e-02", "51.1"),
    ("quadratic_deep", "MomentumOptimizer"): ("87.0450", "0.0252", "2.51e-03", "70.5"),
    ("quadratic_deep", "AdamOptimizer"): ("87.1119", "0.0242", "3.98e-02", "39.9"),
    ("fmnist_2c2d", "GradientDescentOptimizer"): ("0.92273", "0.00184", "1.58e-01", "40.6"),
    ("fmnist_2c2d", "MomentumOptimizer"): ("0.92144", "0.00212", "2.51e-03", "59.1"),
    ("fmnist_2c2d", "AdamOptimizer"): ("0.92342", "0.00294", "2.51e-04", "40.1"),
}
TARGETS = {"quadratic_deep": 87.70315464772136, "fmnist_2c2d": 0.9198093278634639}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def asked(folder: Path, **question: Any) -> Summary:
    return summarize(read_runs(folder), Question(**question))


def only(folder: Path, **question: Any) -> OptimizerResult:
    (problem,) = asked(folder, **question).problems
    (result,) = problem.results
    return result


def kinds(summary: Summary) -> set[str]:
    return {caution.kind for caution in summary.cautions}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["analyze", *words, "--json"]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    body: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=refuse)
    return body


# ------------------------------------------------------------------------------------------ the published results


def test_the_six_published_cells_to_every_digit(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = printed(capsys, str(data_dir / "deepobs_baselines"), "--keep-tuning-seeds")
    found = {}
    for problem in body["problems"]:
        for one in problem["optimizers"]:
            numbers = one["numbers"]
            assert (numbers["num_seeds"], one["seeds"]) == (10, [*range(42, 52)])
            digits = 5 if problem["reported"] == "test/accuracy" else 4
            cell = (
                f"{numbers['mean']:.{digits}f}",
                f"{numbers['std']:.{digits}f}",
                f"{one['best']['setting']['lr']:.2e}",
            )
            found[problem["problem"], one["optimizer"]] = cell
    assert found == {key: cell[:3] for key, cell in PUBLISHED.items()}


def test_the_seed_that_won_is_left_out_of_the_published_runs(data_dir: Path) -> None:
    summary = asked(data_dir / "deepobs_baselines", targets=TARGETS)
    for problem in summary.problems:
        for one in problem.results:
            assert [run.seed for run in one.choice.runs] == [*range(43, 52)]
    assert {found.corrected_p < 0.05 for found in summary.differences if found.problem == "quadratic_deep"} == {True}
    assert {found.verdict for found in summary.differences if found.problem == "fmnist_2c2d"} == {
        "no evidence of a difference"
    }
    assert "chosen on test" in kinds(summary)
    assert [c.optimizer for c in summary.cautions if c.kind == "two humps"] == ["GradientDescentOptimizer"]
    momentum = next(one for one in summary.problems[0].results if one.optimizer == "MomentumOptimizer")
    assert momentum.time is not None
    assert (momentum.time.num_reached, momentum.time.num_seeds) == (7, 9)


def test_deepobs_analyzer_gives_the_published_numbers(data_dir: Path, tmp_path: Path) -> None:
    from regimen.deepobs import analyzer

    goals = tmp_path / "convergence_performance.json"
    goals.write_text(json.dumps(TARGETS))
    with tarfile.open(data_dir / "deepobs_baselines/quadratic_deep.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for problem, optimizer in PUBLISHED:
        if problem != "quadratic_deep":
            continue
        mean, _, rate, speed = PUBLISHED[problem, optimizer]
        found = analyzer.get_performance_dictionary(tmp_path / problem / optimizer, conv_perf_file=goals)
        assert f"{found['Performance']:.4f}" == mean
        assert f"{found['Speed']:.1f}" == speed
        assert f"{found['Hyperparameters']['lr']:.2e}" == rate


def test_deepobs_speed_counts_a_seed_that_never_arrives_as_one_epoch_more(data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    from regimen.deepobs import analyzer

    goals = tmp_path / "goals.json"
    goals.write_text(json.dumps(TARGETS))
    table = analyzer.plot_results_table(data_dir / "deepobs_baselines/epoch_metrics.jsonl.gz", conv_perf_file=goals)
    for (problem, optimizer), cell in PUBLISHED.items():
        assert f"{table.loc[(problem, 'Speed'), optimizer]:.1f}" == cell[3]


# ------------------------------------------------------------------------------------------ which setting, which seeds


def test_the_setting_is_chosen_on_validation_data(runs: Path) -> None:
    for seed in range(2):
        for lr, valid, test in ((0.1, 1.0, 2.0), (0.2, 1.5, 0.5)):
            bench_run(
                runs / f"{lr}_{seed}",
                [10.0, 5.0, valid],
                optimizer={"name": "sgd", "lr": lr},
                seed=seed,
                splits=("valid",),
                test__loss=[10.0, 5.0, test],
            )
    summary = asked(runs)
    choice = summary.problems[0].results[0].choice
    assert (choice.best.runs.setting["lr"], choice.numbers.mean) == (0.1, 2.0)
    assert "chosen on test" not in kinds(summary)


def test_without_validation_data_the_choice_is_on_test_and_said(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [2.0], 0.2: [1.0]}, splits=("test",))
    summary = asked(runs)
    assert summary.problems[0].results[0].choice.best.runs.label == "lr 0.2"
    assert "chosen on test" in kinds(summary)


def test_tuning_seeds_choose_and_fresh_seeds_count(runs: Path) -> None:
    """The lucky seed 0 of 0.2 wins; the numbers are those of its other seeds."""
    grid(runs, "sgd", {0.1: [2.0], 0.2: [1.0, 3.0, 3.1, 2.9, 3.0, 3.2]})
    result = only(runs)
    assert result.choice.best.runs.label == "lr 0.2"
    assert result.choice.tuning_seeds == (0,)
    assert (result.choice.numbers.num_seeds, round(result.choice.numbers.mean, 6)) == (5, 3.04)
    kept = only(runs, keep_tuning_seeds=True)
    assert (kept.choice.numbers.num_seeds, round(kept.choice.numbers.mean, 6)) == (6, 2.7)
    assert "tuning seeds counted" in kinds(asked(runs, keep_tuning_seeds=True))


def test_a_best_setting_without_fresh_seeds_says_so(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0, 1.1], 0.2: [2.0, 2.1]})
    summary = asked(runs)
    assert not summary.problems[0].results[0].choice.is_fresh
    assert {"tuning seeds counted", "few seeds", "edge of the grid"} <= kinds(summary)


def test_most_takes_the_setting_of_most_seeds(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0], 0.2: [1.5, 1.5, 1.6]})
    assert only(runs, rule="final").choice.best.runs.label == "lr 0.1"
    assert only(runs, rule="most").choice.best.runs.label == "lr 0.2"


def test_best_takes_test_where_validation_was_best(runs: Path) -> None:
    bench_run(runs / "a", [10.0, 1.0, 3.0], splits=("valid",), test__loss=[10.0, 4.0, 2.0])
    assert only(runs, rule="best").choice.values == (4.0,)
    assert only(runs, rule="final").choice.values == (2.0,)


def test_a_diverged_run_is_counted_and_never_averaged(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [2.0, 2.2, 2.4], 0.5: [1.0, 1.0]})
    bench_run(runs / "d", [10.0, 1.0], optimizer={"name": "sgd", "lr": 0.5}, seed=2, status="diverged", epochs=2)
    summary = asked(runs)
    (result,) = summary.problems[0].results
    assert result.choice.best.runs.label == "lr 0.1"
    worst = result.choice.ranked[-1].reported
    assert (worst.num_seeds, worst.num_diverged, worst.mean) == (3, 1, 1.0)
    assert result.num_diverged == 1


def test_a_setting_that_got_fewer_epochs_does_not_compete(runs: Path) -> None:
    """As a tuner that halves leaves them: ahead at its last epoch, and given up. The edges are of all settings."""
    for lr, final in ((0.9, 0.5), (0.05, 9.0)):
        bench_run(runs / f"short {lr}", [10.0, final], optimizer={"name": "sgd", "lr": lr})
    grid(runs, "sgd", {0.1: [2.0], 0.2: [1.0]})
    summary = asked(runs)
    assert summary.problems[0].results[0].choice.best.runs.label == "lr 0.2"
    assert "unequal budgets" in kinds(summary)
    assert "edge of the grid" not in kinds(summary)


def test_sgd_momentum_and_nesterov_are_three_optimizers(runs: Path) -> None:
    for place, extra in enumerate(({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True})):
        bench_run(runs / str(place), [2.0, 1.0], optimizer={"name": "sgd", "lr": 0.1, **extra})
    assert [one.optimizer for one in asked(runs).problems[0].results] == ["momentum", "nesterov", "sgd"]


def test_a_study_says_which_of_its_runs_chose(tmp_path: Path) -> None:
    """Every setting has the seeds 0 and 1, and only the log knows that seed 1 of the best is a rerun."""
    study = tmp_path / "study"
    grid(study / "runs", "sgd", {0.1: [1.0, 4.0], 0.2: [2.0, 5.0]})
    header = {"kind": "header", "schema_version": 1, "description": {"tune": {"metric": "valid/loss", "at": "best"}}}
    lines = [header] + [
        {
            "kind": "trial",
            "purpose": "tuning" if folder.name == "seed__0" else "rerun",
            "folder": str(folder.relative_to(study)),
        }
        for folder in (study / "runs").glob("*/*")
    ]
    (study / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tri')
    summary = asked(study)
    (result,) = summary.problems[0].results
    assert (result.choice.tuning_seeds, result.choice.values, summary.rule) == ((0,), (4.0,), "best")
    (study / "trials.jsonl").write_text("not a log\n" + json.dumps(header) + "\n")
    assert main(["analyze", str(study)]) == 2


# ------------------------------------------------------------------------------------------ what is said against it


def test_two_groups_of_seeds_are_seen_and_one_is_not(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0, 1.1, 1.05, 5.0, 5.1, 5.05]}, problem="split")
    grid(runs / "b", "sgd", {0.1: [1.0, 1.1, 1.2, 1.3, 1.45, 1.6]}, problem="whole")
    assert [caution.problem for caution in asked(runs).cautions if caution.kind == "two humps"] == ["split"]


def test_a_seed_twice_counts_once_and_the_later_run_counts(runs: Path) -> None:
    bench_run(runs / "z", [10.0, 1.0])
    bench_run(runs / "a", [10.0, 2.0])
    summary = asked(runs)
    assert summary.problems[0].results[0].choice.values == (2.0,)
    assert "seed twice" in kinds(summary)


def test_unfinished_runs_are_named_and_not_counted(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0, 1.1]})
    bench_run(runs / "s", [10.0, 0.1], seed=7, status="stopped", epochs=2)
    bench_run(runs / "f", [10.0, 0.1], seed=8, status="failed", epochs=2)
    summary = asked(runs)
    assert summary.problems[0].results[0].choice.numbers.num_seeds == 2
    (said,) = [caution.text for caution in summary.cautions if caution.kind == "unfinished"]
    assert "1 failed, 1 stopped" in said


def test_seeds_that_change_nothing_are_doubted(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0] * 5})
    assert "one value" in kinds(asked(runs))


# ------------------------------------------------------------------------------------------ time, differences, windows


def test_runs_that_never_reach_the_target_are_no_number_in_a_mean(runs: Path) -> None:
    for seed, curve in enumerate([[9, 5, 1, 1, 1], [9, 5, 5, 1, 1], [9, 9, 9, 9, 9]]):
        bench_run(runs / str(seed), [float(v) for v in curve], seed=seed)
    time = only(runs, targets={"hills": 1.0}).time
    assert time is not None
    assert (time.num_reached, time.num_seeds, time.median_epochs, time.horizon) == (2, 3, 3.0, 4.0)
    assert time.restricted_mean_epochs == 3.0  # of 2, 3 and the horizon 4
    assert [round(one.seconds, 1) for one in time.each[:2]] == [3.8, 5.8]  # when the last line before was written
    none = only(runs, targets={"hills": 0.1}).time
    assert none is not None
    assert (none.num_reached, none.median_epochs, none.restricted_mean_epochs) == (0, math.inf, 4.0)


def test_a_target_that_everything_reaches_at_once_is_too_easy(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0, 1.2]})
    assert "easy target" in kinds(asked(runs, targets={"*": 6.0}))
    assert "easy target" not in kinds(asked(runs, targets={"*": 1.5}))


def test_welch_agrees_with_scipy_and_is_corrected_for_all_pairs(runs: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    finals = {
        "adam": [1.0, 1.1, 1.2, 1.1, 1.0],
        "sgd": [1.7, 1.9, 1.4, 1.8, 1.6],
        "rmsprop": [1.0, 1.2, 1.1, 1.0, 1.15],
    }
    for name, values in finals.items():
        grid(runs, name, {0.1: values})
    found = {(one.first, one.second): one for one in asked(runs).differences}
    assert len(found) == 3
    for (first, second), one in found.items():
        expected = stats.ttest_ind(finals[first], finals[second], equal_var=False)
        interval = expected.confidence_interval(0.95)
        assert one.p == pytest.approx(expected.pvalue)
        assert (one.low, one.high) == pytest.approx((interval.low, interval.high))
        assert one.corrected_p >= one.p
    assert found["adam", "rmsprop"].verdict == "no evidence of a difference"
    assert found["adam", "sgd"].verdict == "first is better"


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_lowers_a_p(ps: list[float]) -> None:
    corrected = holm(ps)
    assert all(p <= after <= max(1.0, p) for p, after in zip(ps, corrected, strict=True))
    ranked = sorted(range(len(ps)), key=ps.__getitem__)
    assert [corrected[place] for place in ranked] == sorted(corrected)
    assert all(after <= min(1.0, p * len(ps)) + 1e-12 for p, after in zip(ps, corrected, strict=True))
    assert not ps or min(corrected) == min(1.0, len(ps) * min(ps))  # the smallest pays for all


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8), st.floats(-10, 10))
def test_a_difference_changes_sign_with_its_sides(values: list[float], shift: float) -> None:
    a, b = (spread([value + by for value in values], lower_is_better=True) for by in (0.0, shift))
    pair = [Compared("p", "a", a, True), Compared("p", "b", b, True)]
    (one,), (other,) = differences(pair), differences(pair[::-1])
    assert one.mean == -other.mean
    assert one.p == pytest.approx(other.p)


def test_one_seed_gives_no_test(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0]})
    grid(runs, "adam", {0.1: [2.0]})
    (found,) = asked(runs).differences
    assert found.verdict == "too few seeds"


def test_the_good_range_of_a_hyperparameter_in_decades(runs: Path) -> None:
    """Losses of 10 at the start, 1 at best: within 10 % of the way is up to 1.9."""
    grid(runs, "sgd", {1e-3: [5.0], 1e-2: [1.8], 1e-1: [1.0], 1.0: [1.5], 10.0: [6.0]})
    found = only(runs, within=0.1).sensitivity
    assert found is not None
    assert found.window == pytest.approx((1e-2, 1.0, 2.0, False))
    assert [point.is_good for point in found.points] == [False, True, True, True, False]
    narrow = only(runs, within=0.01).sensitivity
    assert narrow is not None
    assert narrow.window == pytest.approx((0.1, 0.1, 0.0, False))


def test_sensitivity_is_along_one_hyperparameter_through_the_best_setting(runs: Path) -> None:
    for place, (lr, beta, final) in enumerate([(0.1, 0.5, 1.0), (0.1, 0.9, 2.0), (0.2, 0.5, 3.0), (0.2, 0.9, 9.0)]):
        bench_run(runs / str(place), [10.0, final], optimizer={"name": "x", "learning_rate": lr, "beta": beta})
    along_rate, along_beta = only(runs).sensitivity, only(runs, hyperparameter="beta").sensitivity
    assert along_rate is not None
    assert along_beta is not None
    assert [(p.value, p.reported.mean) for p in along_rate.points] == [(0.1, 1.0), (0.2, 3.0)]
    assert [(p.value, p.reported.mean) for p in along_beta.points] == [(0.5, 1.0), (0.9, 2.0)]


# ------------------------------------------------------------------------------------------ reading


def test_a_resumed_run_is_read_as_it_was_taken_again(runs: Path) -> None:
    from regimen.records.writer import RecordWriter

    folder = bench_run(runs / "a", [10.0, 5.0])
    writer = RecordWriter(folder, "01B")
    keep = writer.length
    writer.metrics(25, {"valid/loss": 99.0, "test/loss": 99.0})
    writer.resumed(10, keep)
    writer.metrics(20, {"valid/loss": 2.0, "test/loss": 2.0, "train/epoch": 2.0})
    writer.close()
    curve = read_runs(runs).runs[0].curves["test/loss"]
    assert (curve.values, curve.epochs) == ((10.0, 5.0, 2.0), (0.0, 1.0, 2.0))


def test_a_torn_last_line_is_not_there_yet_and_a_damaged_one_is_named(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0, 1.1]})
    events = sorted(runs.rglob("events.jsonl"))
    with events[0].open("ab") as file:
        file.write(b'{"kind": "metrics", "step": 99, "values": {"test/loss": 1')
    assert len(read_runs(runs).runs) == 2
    events[1].write_bytes(
        events[1].read_bytes().replace(b'{"valid/loss"', b'{"valid/loss', 1).replace(b'"test/l', b'"test/l"', 1)
    )
    read = read_runs(runs)
    assert len(read.runs) == 1
    assert "is not an event" in read.unreadable[0].why
    assert main(["analyze", str(runs)]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: does not exist"),
        (["empty"], "empty: holds no results"),
        (["foreign"], "lacks testproblem"),
        (["runs", "--metric", "test/los"], "Did you mean 'test/loss'? Known: test/loss, train_eval/loss, valid/loss"),
        (["runs", "--metric", "acuracy"], "Known: loss, test/loss"),
        (["runs", "--rule", "finale"], "Did you mean 'final'"),
        (["runs", "--hyperparameter", "momentu"], "'momentu' is in no setting"),
        (["runs", "--target", "hils=3"], "Did you mean 'hills'"),
        (["runs", "--target", "fast"], "'fast' is not a value to reach"),
    ],
)
def test_wrong_input_is_one_message(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/random_seed__1__2019-02-13-14-36-12.json").write_text('{"hello": [1]}')
    grid(tmp_path / "runs", "sgd", {0.1: [1.0]})
    assert main(["analyze", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_problem_without_the_metric_is_left_out_and_said(runs: Path) -> None:
    grid(runs, "sgd", {0.1: [1.0]})
    bench_run(runs / "b", [2.0, 1.0], problem="pictures", test__accuracy=[0.1, 0.9])
    summary = asked(runs, metric="accuracy")
    assert [problem.problem for problem in summary.problems] == ["pictures"]
    assert "metric missing" in kinds(summary)


# ------------------------------------------------------------------------------------------ what is shown


def test_the_table_has_every_optimizer_and_the_doubts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid(runs, "sgd", {0.1: [2.0], 0.2: [1.0, 1.2, 1.1]})
    grid(runs, "adam", {0.01: [3.0, 3.1, 3.2]})
    assert main(["analyze", str(runs)]) == 0
    text = capsys.readouterr().out
    for said in (
        "lr 0.2",
        "2 fresh (without seed 0)",
        "3.10 ± 0.10",
        "test/loss",
        "valid/loss",
        "before you believe it",
    ):
        assert said in text


def test_the_json_is_strict_and_has_every_seed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid(runs, "sgd", {0.1: [2.0, 2.5]})
    bench_run(runs / "d", [10.0, 1.0], seed=9, status="diverged", epochs=2)
    body = printed(capsys, str(runs))
    (one,) = body["problems"][0]["optimizers"]
    assert one["seeds"] == [0, 1, 9]
    assert one["values"] == [2.0, 2.5, None]


def test_the_page_fetches_nothing_and_escapes_everything(runs: Path, tmp_path: Path) -> None:
    grid(runs, "sgd", {0.1: [2.0, 2.5], 0.2: [1.0, 1.5]}, problem="<script>hills</script>")
    grid(runs, "adam", {0.1: [2.0, 2.5], 0.2: [1.0, 1.5]}, problem="<script>hills</script>")
    assert main(["analyze", str(runs), "--output", "out/page.html"]) == 0
    page = (tmp_path / "out/page.html").read_text()
    assert "<script" not in page
    assert "http:" not in page
    assert "https:" not in page
    assert page.count("<svg") == 3
    for said in ("Before you believe it", "Differences", "How much depends on lr", "default-src 'none'"):
        assert said in page


@pytest.mark.long
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_the_page_opens_without_a_network(runs: Path, tmp_path: Path) -> None:
    grid(runs, "sgd", {0.1: [2.0, 2.5], 0.2: [1.0, 1.5]})
    assert main(["analyze", str(runs), "--output", "page.html"]) == 0
    shown = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    assert shown.stdout.count("<svg") == 3


def test_a_thousand_runs_take_less_than_ten_seconds(tmp_path: Path) -> None:
    made = bench_run(tmp_path / "made", [10.0 / (epoch + 1) for epoch in range(101)])
    spec = (made / "spec.yaml").read_text()
    for place in range(1000):
        folder = tmp_path / f"runs/{place}"
        folder.mkdir(parents=True)
        new = spec.replace("seed: 0", f"seed: {place % 10}").replace("lr: 0.1", f"lr: 0.{place // 10 + 1:03d}")
        (folder / "spec.yaml").write_text(new)
        for name in ("status.json", "events.jsonl"):
            (folder / name).hardlink_to(made / name)
    began = time.process_time()
    assert main(["analyze", str(tmp_path / "runs"), "--output", "page.html"]) == 0
    assert time.process_time() - began < 10.0


def test_the_analysis_imports_no_torch() -> None:
    names = "reading, summary, text, plainjson, page"
    code = f"import sys; from regimen.analysis import {names}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ------------------------------------------------------------------------------------------ DeepOBS' figures


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Results of DeepOBS 1.2: 3 x 2 settings of SGD, the best with 3 seeds."""
    for lr in (0.01, 0.1, 1.0):
        for momentum in (0.0, 0.9):
            for seed in (42, 43, 44) if (lr, momentum) == (0.1, 0.9) else (42,):
                final = abs(math.log10(lr) + 1) + 1 - momentum / 2 + seed / 1000
                body = {
                    "testproblem": "hills",
                    "batch_size": 4,
                    "num_epochs": 2,
                    "random_seed": seed,
                    "weight_decay": None,
                    "optimizer_name": "SGD",
                    "optimizer_hyperparams": {"lr": lr, "momentum": momentum},
                    "training_params": {},
                    **{f"{split}_losses": [9.0, 5.0, final] for split in ("train", "valid", "test")},
                }
                folder = tmp_path / f"results/hills/SGD/num_epochs__2__batch_size__4__lr__{lr}__momentum__{momentum}"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"random_seed__{seed}__2020-01-01-00-00-{seed}.json").write_text(json.dumps(body))
    return tmp_path / "results"


def test_deepobs_figures_by_their_names(tree: Path) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    from regimen.deepobs import analyzer

    sgd = tree / "hills/SGD"
    figures = [
        analyzer.plot_optimizer_performance(sgd, show=False, which="median_and_quartiles"),
        analyzer.plot_testset_performances(tree, reference_path=tree, show=False),
        analyzer.plot_hyperparameter_sensitivity(sgd, "lr", xscale="log", show=False),
        analyzer.plot_hyperparameter_sensitivity_2d(sgd, ("lr", "momentum"), xscale="log", show=False),
        analyzer.plot_final_metric_vs_tuning_rank(sgd, show=False),
    ]
    for figure, _ in figures:
        assert any(axis.lines or axis.collections for axis in figure.axes)
        pyplot.close(figure)


def test_deepobs_counts_and_performance(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from regimen.deepobs import analyzer
    from regimen.errors import SpecError

    analyzer.check_output(tree)
    out = capsys.readouterr().out
    assert "hills | SGD: 5 setting(s) with 1 seed(s)." in out
    assert "hills | SGD: 1 setting(s) with 3 seed(s)." in out
    found = analyzer.get_performance_dictionary(tree / "hills/SGD")
    assert found["Performance"] == pytest.approx(0.55 + 0.043)
    assert found["Hyperparameters"] == {"lr": 0.1, "momentum": 0.9}
    assert found["Speed"] == "N.A."
    with pytest.raises(SpecError, match="Did you mean 'valid_losses'"):
        analyzer.get_performance_dictionary(tree / "hills/SGD", metric="valid_loss")
    with pytest.raises(SpecError, match="Did you mean 'momentum'"):
        analyzer.plot_hyperparameter_sensitivity(tree, "momentun", show=False)


def test_deepobs_runtime_is_told_against_sgd() -> None:
    from torch.optim import Adam

    from regimen.deepobs import StandardRunner
    from regimen.deepobs.analyzer import estimate_runtime
    from regimen.errors import SpecError

    hyperparameters = {"lr": {"type": float}}
    told = estimate_runtime(
        "pytorch",
        StandardRunner,
        Adam,
        hyperparameters,
        {"lr": 0.1},
        n_runs=2,
        testproblem="quadratic_deep",
        num_epochs=1,
    )
    assert told.startswith("** Mean run time SGD: ")
    assert "Standard deviation: " in told
    with pytest.raises(SpecError, match="Did you mean 'pytorch'"):
        estimate_runtime("torch", StandardRunner, Adam, hyperparameters, {"lr": 0.1})


def test_a_table_of_runs_is_read_like_a_folder(tree: Path, tmp_path: Path) -> None:
    lines = [
        json.dumps({**json.loads(path.read_text()), "path": str(path.relative_to(tree))})
        for path in tree.rglob("*.json")
    ]
    with gzip.open(tmp_path / "runs.jsonl.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    one, other = asked(tree), asked(tmp_path / "runs.jsonl.gz")
    assert one.problems[0].results[0].choice.numbers == other.problems[0].results[0].choice.numbers
