"""DeepOBS' tree: the names of its folders, and reading every layout it has had."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import statistics
import tarfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimen.benchmark.files import Output, Setting, read_output, read_results, run_path, write_output
from regimen.benchmark.files.names import file_time, float_text
from regimen.errors import RecordError

WHEN = datetime(2026, 1, 31, 23, 59, 1)
CELLS = {
    ("quadratic_deep", "GradientDescentOptimizer"): ("87.3975", "0.1690", "1.58e-02", "51.1", 10),
    ("quadratic_deep", "MomentumOptimizer"): ("87.0450", "0.0252", "2.51e-03", "70.5", 10),
    ("quadratic_deep", "AdamOptimizer"): ("87.1119", "0.0242", "3.98e-02", "39.9", 10),
    ("fmnist_2c2d", "GradientDescentOptimizer"): ("0.92273", "0.00184", "1.58e-01", "40.6", 10),
    ("fmnist_2c2d", "MomentumOptimizer"): ("0.92144", "0.00212", "2.51e-03", "59.1", 8),
    ("fmnist_2c2d", "AdamOptimizer"): ("0.92342", "0.00294", "2.51e-04", "40.1", 10),
}
TARGETS = {"quadratic_deep": 87.70315464772136, "fmnist_2c2d": 0.9198093278634639}
"""The published table (mean, standard deviation, best learning rate, epochs to the target, runs that reach it)."""


def body(**more: Any) -> dict[str, Any]:
    """A run of DeepOBS 1.2."""
    return {
        "testproblem": "quadratic_deep",
        "batch_size": 128,
        "num_epochs": 2,
        "random_seed": 42,
        "weight_decay": None,
        "optimizer_name": "SGD",
        "optimizer_hyperparams": {"lr": 0.1},
        "training_params": {"lr_sched_epochs": None},
        "train_losses": [3.0, 2.0, 1.0],
        "valid_losses": [3.1, 2.1, 1.1],
        "test_losses": [3.2, 2.2, 1.2],
        "minibatch_train_losses": [3.5, 2.5],
        **more,
    }


def old_body(**more: Any) -> dict[str, Any]:
    """A run of DeepOBS 1.1."""
    taken = ("optimizer_name", "optimizer_hyperparams", "training_params", "valid_losses")
    new = {key: value for key, value in body(**more).items() if key not in taken}
    schedule = {"lr_sched_epochs": None, "lr_sched_factors": None}
    return {
        "optimizer": "MomentumOptimizer",
        "learning_rate": 0.1,
        "hyperparams": {"momentum": 0.99},
        **schedule,
        **new,
    }


def put(folder: Path, content: object, name: str = "random_seed__42__2020-01-01-00-00-00.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / name


# ------------------------------------------------------------------------------------------------------------- names


def test_the_path_is_that_of_deepobs() -> None:
    path = run_path(
        "cifar10_3c3d",
        128,
        100,
        0.002,
        42,
        "SGD",
        {"nesterov": True, "momentum": 0.99, "lr": 0.01},
        {"lr_sched_factors": None, "clip": 1},
        WHEN,
    )
    assert path == Path(
        "cifar10_3c3d/SGD/num_epochs__100__batch_size__128__weight_decay__2.e-03__lr__1.e-02__momentum__9.9e-01"
        "__nesterov__True__clip__1/random_seed__42__2026-01-31-23-59-01.json"
    )


def test_the_published_names_come_out(data_dir: Path) -> None:
    """In the 1.1 layout the learning rate is last, as a training parameter is in the later one."""
    with gzip.open(data_dir / "deepobs_baselines" / "epoch_metrics.jsonl.gz") as lines:
        for line in lines:
            run = json.loads(line)
            made = datetime.strptime(file_time(Path(run["path"]).name)[0], "%Y-%m-%d-%H-%M-%S")
            meta = (run[key] for key in ("testproblem", "batch_size", "num_epochs", "weight_decay", "random_seed"))
            rate = {"lr": run["learning_rate"]}
            assert str(run_path(*meta, run["optimizer"], run["hyperparams"], rate, made)) == run["path"]


@given(st.floats(min_value=1e-99, max_value=1e99))
def test_a_number_in_a_name_reads_back(value: float) -> None:
    text = float_text(value)
    assert math.isclose(float(text), value, rel_tol=1e-10)
    assert float_text(float(text)) == text, "a rerun with the rounded number has the same folder"
    assert "0e" not in text.partition(".")[2], "no trailing zeros"


def test_names_cannot_leave_their_folder_or_be_too_long() -> None:
    odd = {"file": "../../etc/passwd", "inner": {"name": "sgd", "lr": 0.5}, "long": "x" * 300}
    path = run_path("../p", 1, 1, None, 0, "A/B", odd, {}, WHEN)
    assert len(path.parts) == 4
    assert ".." not in path.parts
    assert all(len(part.encode()) <= 255 for part in path.parts)
    assert "inner.lr__5.e-01" in path.parts[2]
    assert path.parts[2] != run_path("../p", 1, 1, None, 0, "A/B", {**odd, "long": "x" * 301}, {}, WHEN).parts[2]


# ----------------------------------------------------------------------------------------------------------- writing


def test_an_output_is_strict_json_and_overwrites_nothing(tmp_path: Path) -> None:
    first = write_output({"a": [1.5]}, tmp_path / "x", "random_seed__1__2020-01-01-00-00-00")
    second = write_output({"a": [2.5]}, tmp_path / "x", "random_seed__1__2020-01-01-00-00-00")
    assert json.loads(first.read_text()) == {"a": [1.5]}
    assert second.name == "random_seed__1__2020-01-01-00-00-00-2.json"
    assert file_time(first.name) < file_time(second.name)
    with pytest.raises(RecordError, match=r"z\.json: cannot be written as JSON"):
        write_output({"test_losses": [math.nan]}, tmp_path / "x", "z")
    assert {path.name for path in (tmp_path / "x").iterdir()} == {first.name, second.name}, "nothing beside"


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    output = read_output(put(tmp_path, body()))
    path = write_output(output.to_json(), tmp_path / "again", "random_seed__42__2020-01-01-00-00-01")
    again = read_output(path)
    assert again.layout == "regimen"
    same = ("testproblem", "num_epochs", "hyperparams", "metrics", "minibatch_train_losses", "status")
    assert all(getattr(again, name) == getattr(output, name) for name in same)


# ----------------------------------------------------------------------------------------------------------- layouts


def test_the_layouts_read_alike(tmp_path: Path) -> None:
    later = {key: value for key, value in body().items() if key != "weight_decay"} | {"l2_reg": 0.5}
    outputs = {
        read_output(put(tmp_path / str(n), content)).layout: read_output(tmp_path / str(n) / f"{NAME}.json")
        for n, content in enumerate([old_body(), body(weight_decay=0.5), later])
    }
    assert list(outputs) == ["1.1", "1.2", "l2_reg"]
    assert outputs["1.1"].hyperparams == {"momentum": 0.99, "lr": 0.1}
    assert [output.learning_rate for output in outputs.values()] == [0.1, 0.1, 0.1]
    assert outputs["1.2"].weight_decay == outputs["l2_reg"].weight_decay == 0.5
    assert outputs["1.2"].training_params == {}, "what is None was not given"
    assert all(list(output.minibatch_train_losses) == [3.5, 2.5] for output in outputs.values())
    assert outputs["1.1"].final("test_losses") == 1.2
    assert math.isnan(outputs["1.1"].final("valid_losses"))


NAME = "random_seed__42__2020-01-01-00-00-00"


def test_numbers_that_json_has_not_are_read(tmp_path: Path) -> None:
    """Facts 1.7, 12, and the traps of 5.2: NaN and Infinity tokens, runs that end non-finite."""
    text = json.dumps(old_body(test_losses=[3.0, math.inf, math.nan], train_losses=[3.0, 1.0, -math.inf]))
    assert "NaN" in text
    output = read_output(put(tmp_path, text))
    assert output.metrics["test_losses"][1] == math.inf
    assert output.status == "diverged"
    assert math.isnan(output.final("test_losses")), "it has no result"


@pytest.mark.parametrize("reached", [0, 1, 3])
def test_filled_epochs_are_taken_out(tmp_path: Path, reached: int) -> None:
    """Facts 1.7, 7: DeepOBS 1.2 filled the epochs after a divergence with the numbers of the untrained model."""
    names = ("train_losses", "valid_losses", "test_losses", "test_accuracies")
    real = {name: [4.0 + n, *(3.0 / (epoch + 1) for epoch in range(reached))] for n, name in enumerate(names)}
    filled = {name: curve + [curve[0]] * (6 - len(curve)) for name, curve in real.items()}
    batches = [3.5, 2.5, math.nan] + [3.5] * (5 - reached)
    output = read_output(put(tmp_path, body(num_epochs=5, minibatch_train_losses=batches, **filled)))
    assert output.metrics == real
    assert output.status == "diverged"
    assert output.epochs_done == reached
    assert f"diverged in epoch {reached + 1}" in output.notes[0]


def test_a_model_that_learned_nothing_has_not_diverged(tmp_path: Path) -> None:
    flat = {name: [3.0] * 3 for name in ("train_losses", "valid_losses", "test_losses")}
    output = read_output(put(tmp_path, body(**flat, minibatch_train_losses=[3.1, 2.9, 3.0, 3.2])))
    assert output.status == "completed"
    assert len(output.metrics["test_losses"]) == 3


def test_an_accuracy_of_zero_is_a_number(tmp_path: Path) -> None:
    """Facts 1.7, 8: DeepOBS deletes all accuracies if one is exactly 0.0."""
    output = read_output(put(tmp_path, body(test_accuracies=[0.0, 0.5, 0.9])))
    assert output.metrics["test_accuracies"] == [0.0, 0.5, 0.9]


def test_a_short_run_is_no_result(tmp_path: Path) -> None:
    output = read_output(put(tmp_path, body(num_epochs=9)))
    assert output.status == "stopped"
    assert math.isnan(output.final("test_losses"))


# -------------------------------------------------------------------------------------------------- many runs at once


def test_settings_are_told_by_ten_digits(tmp_path: Path) -> None:
    for seed, rate in enumerate([0.000251188643150958, 0.00025118864315, 0.0002511886432, 0.000251188644]):
        content = body(random_seed=seed, optimizer_hyperparams={"lr": rate, "betas": [0.9, 0.99]})
        put(tmp_path / "p" / "o" / f"num_epochs__2__lr__{rate}", content, f"random_seed__{seed}__{STAMP}.json")
    assert [setting.seeds for setting in read_results(tmp_path).settings] == [(0, 1, 2), (3,)]


STAMP = "2020-01-01-00-00-00"


def test_settings_differ_by_all_that_was_set(tmp_path: Path) -> None:
    other = [
        {"weight_decay": 0.1},
        {"num_epochs": 3},
        {"batch_size": 64},
        {"training_params": {"clip": 1.0}},
        {"optimizer_hyperparams": {"lr": 0.1, "nesterov": True}},
        {"optimizer_hyperparams": {"lr": 0.1, "nesterov": "True"}},
        {"optimizer_name": "Adam"},
    ]
    for number, more in enumerate([{}, *other]):
        put(tmp_path / str(number), body(**more))
    put(tmp_path / "same", body(random_seed=43, training_params={}))
    assert sorted(len(setting.outputs) for setting in read_results(tmp_path).settings) == [1] * 7 + [2]


def test_a_seed_that_was_run_twice_counts_once(tmp_path: Path) -> None:
    """Facts 1.7, 10."""
    old = put(tmp_path, body(test_losses=[3.0, 2.0, 1.5]), "random_seed__42__2020-01-01-00-00-00.json")
    put(tmp_path, body(test_losses=[3.0, 2.0, 1.4]), "random_seed__42__2020-01-01-00-00-00-2.json")
    put(tmp_path, body(test_losses=[3.0, 2.0, 1.3]), "random_seed__42__2021-01-01-00-00-00.json")
    results = read_results(tmp_path)
    (setting,) = results.settings
    assert [output.final("test_losses") for output in setting.outputs] == [1.3]
    assert len(results) == 1
    assert len(results.duplicates) == 2
    assert f"{old}: seed 42 of its setting was run again later" in results.notes[0]


def test_everything_is_read_and_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    put(tmp_path / "num_epochs__2", body())
    wrong = {
        "foreign.json": '{"learning_rate": 1}',
        "list.json": "[1, 2]",
        "cut.json": json.dumps(body())[:-40],
        "empty.json": "",
        "words.json": json.dumps(body(test_losses="none")),
        "bool.json": json.dumps(body(batch_size=True, test_losses=[True])),
        "newer.json": json.dumps(body(schema="regimen/9")),
        "bare.json": json.dumps({k: v for k, v in body().items() if "losses" not in k}),
        "binary.json": "\x00\x01",
    }
    for name, text in wrong.items():
        put(tmp_path / "num_epochs__2", text, name)
    (tmp_path / "tuning_log.json").write_text('{"params": 1}\n{"params": 2}\n')
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(b"no tar file")[:-4])
    with pytest.raises(RecordError) as caught:
        read_results(tmp_path)
    said = {Path(problem.place).name: str(problem) for problem in caught.value.problems}
    assert said.keys() == wrong.keys() | {"cut.tar.gz"}
    assert "lacks testproblem, batch_size, num_epochs, random_seed" in said["foreign.json"]
    assert "has no metrics (train_losses, test_losses, ...)" in said["bare.json"]
    assert "True for batch_size" in said["bool.json"]
    assert "regimen/9" in said["newer.json"]
    results = read_results(tmp_path, strict=False)
    assert len(results) == 1
    assert len(results.problems) == len(said)


@pytest.mark.parametrize("name", ["", "p", "p/o", "p/o/num_epochs__2"])
def test_a_folder_at_any_level(tmp_path: Path, name: str) -> None:
    put(tmp_path / "p" / "o" / "num_epochs__2", body())
    put(tmp_path / ".hidden", "no run")
    put(tmp_path / "p" / "checkpoints" / "a run of ours", "no output", "status.json")
    (tmp_path / "p" / "checkpoints" / "a run of ours" / "spec.yaml").touch()
    assert len(read_results(tmp_path / name)) == 1


def test_no_run_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="holds no results"):
        read_results(tmp_path)
    with pytest.raises(RecordError, match="does not exist"):
        read_results(tmp_path / "nowhere")


def test_an_archive_and_a_table_hold_the_same_runs(tmp_path: Path) -> None:
    folder = tmp_path / "tree" / "p" / "o" / "num_epochs__2"
    for seed in range(3):
        put(folder, body(random_seed=seed), f"random_seed__{seed}__{STAMP}.json")
    with tarfile.open(tmp_path / "tree.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "tree" / "p", "p")
    with gzip.open(tmp_path / "tree.jsonl.gz", "wt") as table:
        for path in sorted(folder.iterdir()):
            run = {**json.loads(path.read_text()), "path": str(path.relative_to(tmp_path / "tree"))}
            table.write(json.dumps({key: value for key, value in run.items() if "minibatch" not in key}) + "\n")
    (tmp_path / "trials.jsonl").write_text('{"number": 1}\n')
    for source in ("tree", "tree.tar.gz", "tree.jsonl.gz"):
        assert read_results(tmp_path / source).settings[0].seeds == (0, 1, 2), source
    shutil.rmtree(tmp_path / "tree")
    together = read_results(tmp_path)
    assert len(together) == 3, "a run that is there twice is one run"
    assert not together.duplicates
    assert "3 runs of" in together.notes[0]
    assert all(len(output.minibatch_train_losses) == 2 for output in together.outputs), "the fuller copy counts"


# ------------------------------------------------------------------------------------------- the published results


def chosen(settings: list[Setting], metric: str, sign: int) -> Setting:
    """DeepOBS' rule: the best final test metric of the seed that all settings were tuned on."""

    def rank(setting: Setting) -> float:
        final = next(output for output in setting.outputs if output.random_seed == 42).final(metric)
        return math.inf if math.isnan(final) else sign * final

    return min(settings, key=rank)


def test_the_six_published_cells(data_dir: Path) -> None:
    results = read_results(data_dir / "deepobs_baselines")
    assert len(results) == 270
    assert not results.duplicates
    for (problem, optimizer), (mean, deviation, rate, epochs, reached) in CELLS.items():
        metric, sign = ("test_losses", 1) if problem == "quadratic_deep" else ("test_accuracies", -1)
        settings = [s for s in results.settings if (s.testproblem, s.optimizer_name) == (problem, optimizer)]
        assert len(settings) == 36
        best = chosen(settings, metric, sign)
        assert best.seeds == tuple(range(42, 52))
        finals = [output.final(metric) for output in best.outputs]
        curves = [[sign * value for value in output.metrics[metric]] for output in best.outputs]
        first = [next((n for n, v in enumerate(c) if v <= sign * TARGETS[problem]), len(c)) for c in curves]
        digits = len(mean.partition(".")[2])
        assert f"{statistics.mean(finals):.{digits}f}" == mean
        assert f"{statistics.stdev(finals):.{digits}f}" == deviation
        assert f"{best.learning_rate:.2e}" == rate
        assert f"{statistics.mean(first):.1f}" == epochs
        assert sum(epoch < 101 for epoch in first) == reached


def test_a_thousand_runs_are_read_in_seconds(tmp_path: Path) -> None:
    """As many as were published; the minibatch losses, most of their bytes, are not parsed."""
    curve = [1.0 + 1.0 / (n + 1) for n in range(101)]
    content = body(num_epochs=100, train_losses=curve, valid_losses=curve, test_losses=curve)
    text = json.dumps(content | {"minibatch_train_losses": [1.2345678901234567] * 2_000})
    for number in range(1080):
        changed = text.replace('"lr": 0.1', f'"lr": {0.1 * 1.1 ** (number // 10)}')
        changed = changed.replace('"random_seed": 42', f'"random_seed": {number % 10}')
        put(tmp_path / f"num_epochs__{number // 10}", changed, f"random_seed__{number % 10}__{STAMP}.json")
    began = time.process_time()
    results = read_results(tmp_path)
    took = time.process_time() - began
    assert len(results) == 1080
    assert len(results.settings) == 108
    assert took < 5.0
    assert len(next(results.outputs).minibatch_train_losses) == 2_000


def test_reading_needs_no_torch() -> None:
    """Facts 1.7, 1: an import that pulls in everything."""
    import subprocess
    import sys

    code = "import sys, regimen.benchmark.files as f; print({'torch', 'numpy', 'tensorflow'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"


def test_outputs_are_typed_and_frozen(tmp_path: Path) -> None:
    output = read_output(put(tmp_path, body()))
    assert isinstance(output, Output)
    with pytest.raises(AttributeError):
        output.status = "completed"  # type: ignore[misc]
