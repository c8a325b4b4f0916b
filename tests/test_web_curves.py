"""Curves over HTTP: thinning loses no extreme, a file that grows is read on, a resume drops what it did again."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from made_runs import begun_run, made_run, many_points
from regimen.events import Metrics, Note, Resumed, encode
from regimen.records.reader import Record
from regimen.web.app import make_app
from regimen.web.services.columns import Columns, read_columns
from regimen.web.services.curves import thinned
from regimen.web.services.parts import Parts


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return Parts.at(tmp_path / "home").home.folder


@pytest.fixture
def http(home: Path) -> Iterator[TestClient]:
    with TestClient(make_app(Parts.at(home))) as client:
        yield client


def asked(http: TestClient, run_id: str, **query: Any) -> dict[str, Any]:
    answer = http.get(f"/api/v1/runs/{run_id}/curves", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def series(found: dict[str, Any], key: str) -> dict[str, Any]:
    one: dict[str, Any]
    (one,) = [one for one in found["series"] if one["key"] == key]
    return one


# ------------------------------------------------------------------------------------------------ thinning

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(numbers, min_size=1, max_size=700), st.integers(8, 120))
@settings(max_examples=150, deadline=None)
def test_thinning_keeps_every_extreme(values: list[float], most: int) -> None:
    array = np.array(values, np.float64)
    places, means = thinned(array, most)
    kept = array[places]
    assert len(places) <= most
    assert list(places) == sorted(set(places.tolist()))
    assert (places[0], places[-1]) == (0, len(values) - 1)
    finite, kept_finite = array[np.isfinite(array)], kept[np.isfinite(kept)]
    assert len(finite) == 0 or (finite.min(), finite.max()) == (kept_finite.min(), kept_finite.max())
    assert np.isfinite(array).all() == np.isfinite(kept).all()
    if means is not None:
        assert len(means) == len(places)
        assert all(finite.min() <= mean <= finite.max() or mean == 0 for mean in means) or len(finite) == 0


@given(st.integers(200, 5000), st.integers(8, 300), st.data())
@settings(max_examples=60, deadline=None)
def test_a_spike_anywhere_is_drawn(count: int, most: int, data: st.DataObject) -> None:
    spike = data.draw(st.integers(0, count - 1))
    values = np.zeros(count)
    values[spike] = 9.0
    places, _ = thinned(values, most)
    assert spike in places


# ------------------------------------------------------------------------------------------------ reading on

steps = st.integers(0, 50)
metrics = st.builds(
    lambda step, values: encode(Metrics(step, values, at=float(step))),
    steps,
    st.dictionaries(st.sampled_from(["train/loss", "valid/loss", "time/elapsed_s"]), numbers, max_size=3),
)
notes = st.builds(lambda text: encode(Note(text, at=0.0)), st.text(max_size=5))
torn = st.just(b'{"kind": "metr\n')


def file_of(pieces: list[bytes | float]) -> bytes:
    """Lines; a number is a resume that keeps this share of the file so far, up to the end of a line."""
    data = b""
    for piece in pieces:
        if isinstance(piece, float):
            keep = data.rfind(b"\n", 0, int(piece * len(data)) + 1) + 1
            data += encode(Resumed(0, keep, at=0.0))
        else:
            data += piece
    return data


files = st.lists(st.one_of(metrics, metrics, metrics, notes, st.floats(0, 1)), max_size=30).map(file_of)


def told(columns: Columns) -> dict[str, list[tuple[int, str]]]:
    """Comparable, not finite numbers included."""
    return {
        key: [(int(columns.steps[row]), repr(float(value))) for row, value in zip(*column, strict=True)]
        for key, column in columns.values.items()
    }


@given(files, st.lists(st.floats(0, 1), max_size=6))
@settings(max_examples=120, deadline=None)
def test_reading_on_is_reading_from_the_start(tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: Any) -> None:
    folder = tmp_path_factory.mktemp("run")
    events, cache = folder / "events.jsonl", folder / "cache.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regimen.web.services.columns._WORTH_KEEPING", 1)
        for end in [*sorted(int(cut * len(data)) for cut in cuts), len(data)]:
            events.write_bytes(data[:end])
            on = read_columns(events, cache)
    fresh = read_columns(events, folder / "none.npz")
    assert told(on) == told(fresh)
    assert (on.cursor, on.notes, on.resumes) == (fresh.cursor, fresh.notes, fresh.resumes)
    curves = Record(folder).curves
    assert told(on) == {key: [(step, repr(value)) for step, value in points] for key, points in curves.items()}


@given(files, torn)
@settings(max_examples=30, deadline=None)
def test_a_torn_line_waits(tmp_path_factory: pytest.TempPathFactory, data: bytes, line: bytes) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "events.jsonl").write_bytes(data + line[:-1])
    columns = read_columns(folder / "events.jsonl", folder / "cache.npz")
    assert columns.cursor == len(data)


def test_a_cache_that_is_damaged_or_of_another_file_is_not_believed(home: Path, http: TestClient) -> None:
    run_id = many_points(home, "long", 900, ("train/loss",), spike=400)
    before = asked(http, run_id)
    cache = home / ".regimen" / "curves" / f"{run_id}.npz"
    assert cache.is_file()
    cache.write_bytes(cache.read_bytes()[:5000])
    assert asked(http, run_id) == before
    events = next(home.rglob("events.jsonl"))
    half = events.read_text().replace("100.0", "200.0").splitlines(keepends=True)[:500]
    events.write_text("".join(half))
    assert max(series(asked(http, run_id), "train/loss")["y"]) == 200.0


# ------------------------------------------------------------------------------------------------ over HTTP


def test_peaks_stay_and_the_mean_is_told(home: Path, http: TestClient) -> None:
    run_id = many_points(home, "long", 3000, ("train/loss", "valid/loss"), spike=1717)
    found = series(asked(http, run_id, points=60, keys="train/loss"), "train/loss")
    assert found["total"] == 3000
    assert len(found["x"]) <= 60
    assert dict(zip(found["x"], found["y"], strict=True))[1717.0] == 100.0
    assert all(0.2 < mean < 5 for mean in found["mean"])
    assert {one["key"] for one in asked(http, run_id)["series"]} == {"train/loss", "valid/loss"}


def test_what_a_resume_superseded_is_gone(home: Path, http: TestClient) -> None:
    writer = begun_run(home)
    writer.metrics(1, {"train/loss": 3.0})
    keep = writer.length
    writer.metrics(2, {"train/loss": 99.0})
    assert series(asked(http, writer.id), "train/loss")["y"] == [3.0, 99.0]
    writer.resumed(1, keep)
    writer.metrics(2, {"train/loss": 2.0})
    found = asked(http, writer.id)
    writer.close()
    assert series(found, "train/loss")["y"] == [3.0, 2.0]
    assert found["resumes"] == [1.0]
    assert found["cursor"] == (writer.folder / "events.jsonl").stat().st_size


def test_numbers_that_are_not_finite_are_marked(home: Path, http: TestClient) -> None:
    run_id = made_run(home, losses={1: 2.0, 2: math.nan, 3: -math.inf}, status="diverged")
    found = series(asked(http, run_id), "train/loss")
    assert found["y"] == [2.0, None, None]
    assert found["marks"] == [{"x": 2.0, "value": "NaN"}, {"x": 3.0, "value": "-Infinity"}]


def test_along_time_and_tokens(home: Path, http: TestClient) -> None:
    run_id = many_points(home, "long", 100, ("train/loss",), spike=5)
    assert series(asked(http, run_id, x="time"), "train/loss")["x"][10] == pytest.approx(1.0)
    assert series(asked(http, run_id, x="tokens"), "train/loss")["x"][10] == pytest.approx(70.0)
    other = made_run(home, "no-tokens")
    assert asked(http, other)["axes"] == ["step", "time"]
    refused = http.get(f"/api/v1/runs/{other}/curves?x=tokens")
    assert refused.status_code == 422
    assert "no tokens" in refused.json()["errors"][0]["message"]


def test_pictures_come_results_first(home: Path, http: TestClient) -> None:
    writer = begun_run(home)
    writer.metrics(1, {"train/lr": 0.1, "train/loss": 1.0, "valid/loss": 1.0, "time/peak_memory_mb": 3.0})
    found = asked(http, writer.id)
    writer.close()
    assert found["charts"][0]["keys"] == ["train/loss", "valid/loss"]
    assert "time/peak_memory_mb" not in [one["key"] for one in found["series"]]


def test_a_run_without_events_has_no_points(home: Path, http: TestClient) -> None:
    writer = begun_run(home)
    writer.close()
    found = asked(http, writer.id, keys="train/loss,nonsense")
    assert [(one["key"], one["total"]) for one in found["series"]] == [("train/loss", 0), ("nonsense", 0)]
    assert http.get("/api/v1/runs/nobody/curves").status_code == 404
    assert http.get(f"/api/v1/runs/{writer.id}/curves?points=1").status_code == 422


def test_csv_holds_every_number_that_counts(home: Path, http: TestClient) -> None:
    run_id = many_points(home, "long", 500, ("train/loss", "valid/loss"), spike=7)
    rows = list(csv.DictReader(io.StringIO(http.get(f"/api/v1/runs/{run_id}/curves.csv").text)))
    assert len(rows) == 500
    assert (rows[7]["step"], float(rows[7]["valid/loss"])) == ("7", 100.0)
    writer = begun_run(home, "empty")
    writer.close()
    assert http.get(f"/api/v1/runs/{writer.id}/curves.csv").text.startswith("step,at")


def test_answers_are_json_without_nan(home: Path, http: TestClient) -> None:
    run_id = made_run(home, losses={1: math.inf})
    json.loads(http.get(f"/api/v1/runs/{run_id}/curves").text, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "metrics", "step": 7, "values": {"train/loss": "oops"}, "at": 1.0}',
        '{"kind": "metrics", "step": "7", "values": {}, "at": 1.0}',
        '{"kind": "metrics", "step": 7, "values": {"time/elapsed_s": null, "time/fraction": 0.5}, "at": 1.0}',
        '{"kind": "metrics", "step": 7, "at": 1.0}',
        '{"kind": "resumed", "at": 1.0}',
        "[]",
    ],
)
def test_a_line_that_no_run_has_written_breaks_no_screen(home: Path, http: TestClient, line: str) -> None:
    run_id = made_run(home)
    with next(home.rglob("events.jsonl")).open("a") as events:
        events.write(line + "\n")
    for address in (f"/api/v1/runs/{run_id}", f"/api/v1/runs/{run_id}/curves", f"/runs/{run_id}", "/runs"):
        assert http.get(address).status_code == 200, address
    assert http.get(f"/api/v1/runs/{run_id}").json()["step"] == 2
