"""What differs between two runs: causes first, then the first number that is not the same."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

from rich.console import Console

from recorded import a_run, begin, train
from regimen.differences import compare, conclusion, plain, table, to_json
from regimen.records.reader import Record


def checkpoint(record: Record, step: int, tensors: str) -> None:
    folder = record.folder / "checkpoints" / f"step-{step}"
    folder.mkdir(parents=True)
    files = {"tensors.safetensors": {"bytes": 1, "sha256": tensors}, "state.json": {"bytes": 1, "sha256": str(folder)}}
    (folder / "manifest.json").write_text(json.dumps({"schema_version": 1, "step": step, "files": files}))


def test_equal_runs_are_identical(tmp_path: Path) -> None:
    a, b = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    found = compare(a, b)
    assert found.identical
    assert conclusion(found) == "Identical: all 83 recorded numbers are the same."
    assert plain(found).splitlines()[2:] == [conclusion(found)]
    for record in (a, b):
        checkpoint(record, 40, "same")
    assert conclusion(compare(a, b)).endswith("so are the tensors of the checkpoint of step 40.")


def test_numbers_that_are_not_finite_can_be_identical(tmp_path: Path) -> None:
    a, b = (a_run(tmp_path / name, final={"valid/loss": "NaN"}) for name in "ab")
    assert compare(a, b).identical
    assert compare(a, b).outcome == []


def test_equal_numbers_with_other_weights_are_not_identical(tmp_path: Path) -> None:
    a, b = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    checkpoint(a, 40, "x")
    checkpoint(b, 40, "y")
    found = compare(a, b)
    assert not found.identical
    assert "the tensors of the checkpoint of step 40 are not" in conclusion(found)


def test_causes_come_before_effects(tmp_path: Path) -> None:
    a = a_run(tmp_path / "a")
    writer = begin(tmp_path / "b", lr=1e-3, data="d2")
    writer.write_environment({"python": "3.12.1", "cores": 2, "packages": {"torch": "2.13.0"}, "command": ["other"]})
    writer.metrics(0, {"valid/loss": 4.0})
    train(writer, 1, 12)
    train(writer, 13, 40, shift=0.5)
    writer.status("completed", final={"valid/loss": 1.7})
    writer.close()
    found = compare(a, Record(writer.folder))
    assert [(c.name, c.a, c.b) for c in found.settings] == [("strategy.optimizer.lr", 2e-4, 1e-3)]
    assert found.data == ("data", "d1", "d2")
    assert found.code is None
    assert [change.name for change in found.environment] == ["python"]
    assert [(c.name, c.a, c.b) for c in found.outcome] == [("valid/loss", 1.05, 1.7)]
    assert found.parting is not None
    assert (found.parting.step, found.parting.key) == (13, "train/loss")
    lines = plain(found).splitlines()
    headings = ["settings", "data and code", "environment", "outcome"]
    assert [line for line in lines if line in headings] == headings
    assert lines[2].startswith("The numbers part at step 13: train/loss is ")


def test_a_run_that_went_less_far_is_the_same_as_far_as_it_went(tmp_path: Path) -> None:
    a = a_run(tmp_path / "a")
    writer = begin(tmp_path / "b")
    writer.metrics(0, {"valid/loss": 4.0})
    train(writer, 1, 10)
    writer.close()
    found = compare(a, Record(writer.folder))
    assert not found.identical
    assert (found.parting, found.shared, found.only_a, found.only_b) == (None, 21, 62, 0)
    assert conclusion(found).startswith("The same wherever both recorded (21 numbers)")
    assert ("status", "completed", "lost") in found.outcome


def test_runs_without_numbers_are_not_called_identical(tmp_path: Path) -> None:
    for name in "ab":
        begin(tmp_path / name).close()
    found = compare(Record(tmp_path / "a"), Record(tmp_path / "b"))
    assert not found.identical
    assert "recorded nothing" in conclusion(found)


def test_renderings_agree(tmp_path: Path) -> None:
    a, b = a_run(tmp_path / "a"), a_run(tmp_path / "b", seed=7, final={"valid/loss": math.inf})
    found = compare(a, b)
    out = io.StringIO()
    Console(file=out, width=200).print(table(found))
    body = json.loads(to_json(found), parse_constant=lambda word: 1 / 0)
    assert conclusion(found) in out.getvalue()
    assert body["conclusion"] == conclusion(found)
    assert body["settings"] == [{"name": "seed", "a": 0, "b": 7}]
    assert body["outcome"][0]["name"] == "valid/loss"
    assert "seed: 0 -> 7" in plain(found)
