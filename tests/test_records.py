"""The run folder: what the writer leaves, the reader understands, through resumes, kills and versions."""

from __future__ import annotations

import json
import math
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorded import ID, a_run, begin, train
from regimen.errors import RecordError
from regimen.events import Event, Header, Metrics, Note, Resumed, decode, encode, surviving
from regimen.records.reader import Record, load
from regimen.records.writer import RecordWriter
from regimen.walking import bytes_below, files_below

EARLIER = sorted((Path(__file__).parent / "records").glob("v*/*/spec.yaml"))

numbers = st.floats(allow_nan=True, allow_infinity=True)
texts = st.text(max_size=30)
metrics = st.builds(Metrics, st.integers(0, 10**9), st.dictionaries(texts, numbers, max_size=4), st.just(0.0))
events = st.one_of(metrics, st.builds(Note, texts, st.just(0.0)), st.builds(Header, texts))


def same(a: Event, b: Event) -> bool:
    """Equal, NaN being equal to NaN."""
    return repr(a) == repr(b)


@given(events)
def test_an_event_comes_back_from_its_line(event: Event) -> None:
    line = encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert same(decode(line), event)


@given(st.lists(events, max_size=8), st.lists(events, max_size=8), st.integers(0, 20), st.lists(events, max_size=8))
def test_a_resume_drops_what_was_done_again(known: list, lost: list, torn: int, again: list) -> None:
    """What a checkpoint knew and what followed the resume count; between them anything may have been torn."""
    before = b"".join(map(encode, known))
    superseded = b"".join(map(encode, lost)) + b'{"kind": "metrics", "step'[:torn]
    resumed = encode(Resumed(3, keep=len(before), at=0.0))
    newline = b"" if superseded.endswith(b"\n") or not superseded else b"\n"
    file = before + superseded + newline + resumed + b"".join(map(encode, again))
    kept = list(surviving(file.splitlines(keepends=True)))
    assert [repr(event) for event in kept] == [repr(e) for e in [*known, Resumed(3, len(before), 0.0), *again]]


def test_a_resume_from_the_start_drops_everything_before_it() -> None:
    file = encode(Header("x")) + encode(Metrics(1, {"a": 1.0}, 0.0)) + encode(Resumed(0, 0, 0.0))
    assert list(surviving(file.splitlines(keepends=True))) == [Resumed(0, 0, 0.0)]


def test_a_torn_last_line_is_passed_over_wherever_it_is_cut(tmp_path: Path) -> None:
    record = a_run(tmp_path / "run")
    path = record.folder / "events.jsonl"
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    complete = len(Record(record.folder).events)
    for cut in range(1, last):
        path.write_bytes(whole[:-cut])
        assert len(Record(record.folder).events) == complete - 1, f"cut by {cut}"


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = a_run(tmp_path / "run").folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b'{"kind": "metrics"}\n', *lines[5:]]))
    with pytest.raises(RecordError, match=r"events\.jsonl:5"):
        _ = Record(path.parent).events


def test_a_resumed_run_has_the_identity_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = a_run(tmp_path / "whole")
    writer = begin(tmp_path / "killed")
    writer.metrics(0, {"valid/loss": 4.0})
    train(writer, 1, 25)
    keep = writer.length
    train(writer, 26, 31, shift=7.0)  # taken again after the resume
    writer.close()
    with (writer.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"kind": "metr')
    again = RecordWriter(writer.folder, ID)
    again.resumed(25, keep)
    train(again, 26, 40)
    again.close()
    killed = Record(writer.folder)
    assert killed.identity == whole.identity
    assert killed.resumes == [25]
    assert [point.step for point in killed.curve("train/loss")] == list(range(1, 41))


def test_running_without_a_process_is_lost(tmp_path: Path) -> None:
    writer = begin(tmp_path / "run")
    assert Record(writer.folder).status == "running"
    writer.close()
    assert Record(writer.folder).status == "lost"


def test_two_writers_of_one_run_are_refused(tmp_path: Path) -> None:
    writer = begin(tmp_path / "run")
    with pytest.raises(RecordError, match=r"is being trained by process"):
        RecordWriter(writer.folder, ID)
    writer.close()
    RecordWriter(writer.folder, ID).close()


def test_listeners_hear_what_is_recorded(tmp_path: Path) -> None:
    heard: list[Event] = []
    writer = begin(tmp_path / "run")
    writer.listeners.append(heard.append)
    writer.metrics(1, {"train/loss": 2.0})
    writer.note("a note")
    writer.close()
    assert heard == [*Record(writer.folder).events[-2:]]


def test_an_unknown_metric_names_the_recorded_ones(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"recorded: .*valid/loss"):
        a_run(tmp_path / "run").curve("valid/los")


@pytest.mark.parametrize("name", ["spec.yaml", "status.json", "events.jsonl"])
def test_a_newer_schema_is_refused(tmp_path: Path, name: str) -> None:
    path = a_run(tmp_path / "run").folder / name
    text = path.read_text()
    newer = text.replace('"schema_version": 1', '"schema_version": 99').replace(
        "schema_version: 1", "schema_version: 99"
    )
    assert newer != text
    path.write_text(newer)
    with pytest.raises(RecordError, match=r"schema version 99; .* Upgrade regimen-ml"):
        _ = (load(path.parent).state, load(path.parent).events)


@pytest.mark.parametrize(("name", "content"), [("status.json", "{"), ("status.json", "[]"), ("spec.yaml", "a: [")])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    folder = a_run(tmp_path / "run").folder
    (folder / name).write_text(content)
    with pytest.raises(RecordError, match=name):
        _ = load(folder).state


def test_a_folder_that_is_no_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"is not a run: it has no spec\.yaml"):
        load(tmp_path)


def test_there_is_a_record_of_every_earlier_version() -> None:
    assert EARLIER


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.parts[-3])
def test_a_record_of_an_earlier_version_reads_as_it_was(path: Path) -> None:
    record = load(path.parent)
    assert (record.id, record.status, record.resumes) == (ID, "completed", [4])
    assert record.notes == ["resumed on 4 threads instead of 2."]
    assert [point.step for point in record.curve("train/loss")] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert max(point.value for point in record.curve("train/loss")) < 4
    assert record.curve("valid/loss")[-1].value == math.inf
    assert math.isnan(record.final["valid/odd"])
    assert record.settings["strategy"]["optimizer"]["lr"] == 2e-4
    assert record.environment["packages"] == {"torch": "2.13.0"}


def test_json_in_a_folder_is_standard_json(tmp_path: Path) -> None:
    """NaN and infinity are strings: any reader of JSON takes the files."""
    writer = begin(tmp_path / "run")
    writer.metrics(1, {"train/loss": math.nan, "train/grad_norm": math.inf})
    writer.close()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = (writer.folder / "events.jsonl").read_text().splitlines()
    assert len([json.loads(line, parse_constant=refuse) for line in lines]) == 2


def test_a_folder_that_is_being_changed_is_walked_to_its_end(tmp_path: Path) -> None:
    """As a run that saves does it: folders are written beside, renamed and deleted."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("12345")
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for name in ("step-5", "step-10"):
                (tmp_path / f"{name}.tmp").mkdir()
                (tmp_path / f"{name}.tmp/part").touch()
                (tmp_path / f"{name}.tmp").rename(tmp_path / name)
                shutil.rmtree(tmp_path / name)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(1000):
            assert tmp_path / "kept/file" in files_below(tmp_path)
            assert bytes_below(tmp_path) == 5
    finally:
        done.set()
        changing.join()
    assert files_below(tmp_path, "file") == [tmp_path / "kept/file"]
    assert bytes_below(tmp_path / "kept/file") == 5
