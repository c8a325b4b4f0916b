"""Malformed data: each file is refused with one readable message that names the place and says what to do.

Longer than 300 lines because the table of malformed files is one list.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from regimen.errors import DataError, RegimenError
from regimen.finetune.data.checkrows import check_rows
from regimen.finetune.data.layouts import find_layout
from regimen.finetune.data.rows import read_rows

GOOD = b'{"prompt": "a", "completion": "b"}\n'


class Case(NamedTuple):
    """A file's name and content, the line at fault (None where a file has no lines), and words of the message."""

    name: str
    content: bytes | Callable[[Path], None]
    line: int | None
    words: str


def jsonl(line: bytes, words: str, *, at: int = 2) -> Case:
    return Case("train.jsonl", GOOD * (at - 1) + line + b"\n" + GOOD, at, words)


def row(value: object, words: str) -> Case:
    return jsonl(json.dumps(value).encode(), words)


def chat(turns: object, words: str) -> Case:
    return Case("train.jsonl", json.dumps({"messages": turns}).encode(), 1, words)


def chosen(chosen: object, rejected: object, words: str) -> Case:
    line = json.dumps({"prompt": "a", "chosen": chosen, "rejected": rejected}).encode()
    return Case("train.jsonl", line, 1, words)


USER, REPLY = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}

READING = [
    jsonl(b'{"prompt": "a", "completion": "b"', "breaks off"),
    jsonl(b'{"prompt": "a", "completion": "b', "breaks off"),
    jsonl(b'{"prompt": "a", "completion": "b",}', "comma"),
    jsonl(b'{"prompt": "a" "completion": "b"}', "near"),
    jsonl(b"{'prompt': 'a', 'completion': 'b'}", "quotes"),
    jsonl(b'{"prompt": True, "completion": "b"}', "true, false and null"),
    jsonl(b'{"prompt": None, "completion": "b"}', "true, false and null"),
    jsonl(b'{"prompt": "a\tb", "completion": "c"}', "control character"),
    jsonl(b'{"prompt": "C:\\dir", "completion": "c"}', "backslash"),
    jsonl(b'{"prompt": NaN, "completion": "b"}', "NaN is not JSON"),
    jsonl(b'{"prompt": "a", "completion": -Infinity}', "Infinity is not JSON"),
    jsonl(b'{"prompt": "a", "score": 1e999, "completion": "b"}', "larger than any number"),
    jsonl(b'{"prompt": "a", "n": ' + b"9" * 5000 + b', "completion": "b"}', "number that cannot be read"),
    jsonl(b'{"prompt": "a", "prompt": "b", "completion": "c"}', "'prompt' stands twice"),
    jsonl(b'{"a": {"b": 1, "b": 2}}', "'b' stands twice"),
    jsonl(b'{"prompt": "\xff\xfe", "completion": "b"}', "0xff"),
    jsonl(b'{"prompt": "\\ud83d", "completion": "b"}', "half a character"),
    jsonl(b'{"a": 1} {"a": 2}', "one object a line"),
    jsonl(b"[1, 2]", "not an object"),
    Case("train.jsonl", b'[{"role": "user"}]\n[{"role": "user"}]\n', 1, "not an object"),
    Case("train.jsonl", lambda path: os.mkfifo(path), None, "not a regular file"),
    jsonl(b'"text"', "not an object"),
    jsonl(b"17", "not an object"),
    jsonl(b"null", "not an object"),
    jsonl(b"hello there", "near 'hello there'"),
    jsonl(b'{"a": ' + b"[" * 200_000 + b"}", "nested too deeply"),
    Case("train.jsonl", b"", None, "empty"),
    Case("train.jsonl", b" \n\n \n", None, "empty"),
    Case("train.jsonl", b"\xef\xbb\xbf\n\n", None, "no row"),
    Case("train.jsonl", GOOD + b'{"prompt": "a", "comp', 2, "breaks off"),
    Case("train.jsonl", gzip.compress(GOOD), None, "gzip"),
    Case("train.jsonl", b"PK\x03\x04" + bytes(60), None, "zip archive"),
    Case("train.jsonl", GOOD.decode().encode("utf-16"), None, "UTF-16"),
    Case("train.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", None, "git lfs pull"),
    Case("train.jsonl", b"<!DOCTYPE html>\n<html></html>", None, "web page"),
    Case("train.jsonl", b"\x80\x04\x95\x10\x00\x00\x00", None, "pickle"),
    Case("train.jsonl.gz", GOOD, None, "not gzip"),
    Case("train.jsonl.gz", gzip.compress(GOOD * 1000)[:40], None, "middle of the compressed"),
    Case("train.jsonl.gz", gzip.compress(b""), None, "empty"),
    Case("train.json", b"[]", None, "empty list"),
    Case("train.json", b'[{"a": 1},\n {"a": 2},\n]', 3, "comma"),
    Case("train.json", b'[{"a": 1},\n 17,\n {"a": 2}]', 2, "not an object"),
    Case("train.json", b'[{"a": 1}\n {"a": 2}]', 2, "','"),
    Case("train.json", b'[{"a": 1},\n{"a": 2}', 2, "breaks off"),
    Case("train.json", b'[{"a": 1}]\n{"a": 2}', 1, "more text follows"),
    Case("train.json", b'[{"a": 1},\n{"a": 1, "a": 2}]', 2, "stands twice"),
    Case("train.json", b'[{"a": 1},\n{"a": "\xff"}]', 2, "0xff"),
    Case("train.json", b'{\n "a": 1,\n "b": 2\n}', 1, "one object"),
    Case("train.json", b"a,b\n1,2\n", 1, "not JSON"),
    Case("train.csv", b"prompt,completion\na,b\nc\n", 3, "1 cells"),
    Case("train.csv", b"prompt,completion\na,b,c\n", 2, "3 cells"),
    Case("train.csv", b'prompt,completion\na,b\n"c,d\n', 3, "quote"),
    Case("train.csv", b"prompt,completion\n", None, "no row"),
    Case("train.csv", b"prompt;completion\na;b\n", 1, "';'"),
    Case("train.csv", b"prompt,prompt\na,b\n", 1, "twice"),
    Case("train.csv", b"prompt,\na,b\n", 1, "no name"),
    Case("train.csv", b"1,2.5\n3,4\n", 1, "where a column's name"),
    Case("train.csv", b"prompt,completion\na,\xe9\n", 2, "0xe9"),
    Case("train.parquet", b"PAR1" + bytes(20), None, "Parquet"),
    Case("train.parquet", GOOD, None, "Parquet"),
    Case("train.txt", b"\n \n\n", None, "empty"),
    Case("train.txt", b"good\n\nb\xffd\n", 3, "0xff"),
    Case("train.xlsx", b"PK", None, ".jsonl"),
    Case("train", GOOD, None, "no known data format"),
    Case("train.pkl", b"\x80\x04", None, "no known data format"),
    Case("data", lambda path: path.mkdir(), None, "no data file"),
]
ROWS = [
    row({"prompt": "a"}, "completion is missing"),
    row({"prompt": "a", "completion": None}, "completion is null"),
    row({"prompt": "a", "completion": ""}, "completion is empty"),
    row({"prompt": "a", "completion": " \n"}, "completion is blank"),
    row({"prompt": "a", "completion": 5}, "the number 5"),
    row({"prompt": "a", "completion": True}, "the boolean true"),
    row({"prompt": ["x"], "completion": "b"}, "prompt[0] is the text 'x'"),
    row({"prompt": [USER], "completion": [USER]}, "ends with a turn of the user"),
    row({"prompt": "a", "completion": [REPLY]}, "both as texts or both as turns"),
    chat([], "empty list"),
    chat("hi", "list of turns"),
    chat([USER, {"role": "alien", "content": "x"}], "unknown role 'alien'"),
    chat([USER, {"content": "x"}], "has no role"),
    chat([USER, {"role": "assistant", "content": None}], "messages[1].content is null"),
    chat([USER, {"role": "assistant", "content": ""}], "messages[1].content is empty"),
    chat([USER, {"role": "assistant"}], "null"),
    chat([USER, REPLY, 7], "messages[2] is the number 7"),
    chat([USER], "no assistant turn"),
    chat([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, REPLY], "only text is trained"),
    chat([USER, {**REPLY, "weight": 0.5}], "weight"),
    chat([USER, {"role": "assistant", "tool_calls": [{"function": {}}]}], "not a tool call"),
    chat([{"from": "human", "value": "x"}, {"from": "function_call", "value": "{broken"}], "tool call is no JSON"),
    chosen("same", "same", "equal"),
    chosen(None, "b", "chosen is null"),
    chosen("a", "", "rejected is empty"),
    chosen(3, "b", "the number 3"),
    Case("train.jsonl", b'{"prompt": "a", "completion": "b", "label": "good"}', 1, "true or false"),
    Case("train.jsonl", b'{"prompt": "a", "completion": "b", "label": 1}', 1, "true or false"),
    Case("train.jsonl", b'{"messages": [{"role": "user", "content": "x"}], "label": true}', 1, "last turn"),
    Case("train.jsonl", b'{"text": ""}', 1, "text is empty"),
    Case("train.jsonl", b'{"text": ["a"]}', 1, "a text is expected"),
    Case("train.jsonl", b'{"instruction": "a", "input": 5, "output": "b"}', 1, "the number 5"),
    Case("train.jsonl", b'{"conversations": [{"from": "gpt", "value": ""}]}', 1, "is empty"),
]
COLUMNS = [
    Case("train.jsonl", b'{"question": "a", "answer": "b"}', None, "columns: {prompt: question, completion: answer}"),
    Case("train.jsonl", b'{"foo": 1}', None, "fit no layout"),
    Case("train.jsonl", GOOD + b'{"messages": []}', None, "more than one layout"),
    Case("train.jsonl", b'{"instruction": "a", "output": "b", "response": "c"}', None, "could both be"),
]


def made(tmp_path: Path, case: Case) -> Path:
    path = tmp_path / case.name
    if callable(case.content):
        case.content(path)
    else:
        path.write_bytes(case.content)
    return path


def name_of(case: Case) -> str:
    return re.sub(r"\W+", "-", f"{case.name} {case.words}")


def assert_message(error: RegimenError, path: Path, case: Case) -> None:
    message = str(error)
    place = str(path) if case.line is None else f"{path}:{case.line}"
    assert place in message
    assert case.words in message
    assert "Traceback" not in message
    assert all(problem.fix for problem in error.problems), "a problem does not say what to do"
    assert error.exit_code in (2, 3)
    assert len(message) < 1500


@pytest.mark.parametrize("case", READING, ids=name_of)
def test_file_is_refused(tmp_path: Path, case: Case) -> None:
    if "parquet" in case.name:
        pytest.importorskip("pyarrow")
    path = made(tmp_path, case)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert_message(caught.value, path, case)


@pytest.mark.parametrize("case", ROWS, ids=name_of)
def test_row_is_refused(tmp_path: Path, case: Case) -> None:
    path = made(tmp_path, case)
    rows = read_rows(path)
    report = check_rows(rows, find_layout(rows))
    assert len(report.bad_rows) == 1
    with pytest.raises(RegimenError) as caught:
        report.raise_if_bad()
    assert_message(caught.value, path, case)


@pytest.mark.parametrize("case", COLUMNS, ids=name_of)
def test_columns_are_refused(tmp_path: Path, case: Case) -> None:
    path = made(tmp_path, case)
    with pytest.raises(DataError) as caught:
        find_layout(read_rows(path))
    assert_message(caught.value, path, case)


def test_there_are_more_than_forty_cases() -> None:
    assert len(READING) + len(ROWS) + len(COLUMNS) >= 40


def test_every_bad_line_is_reported_at_once_up_to_twenty(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes((GOOD + b"{broken\n") * 50)
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert str(caught.value).count("train.jsonl:") == 20
    assert f"{path}:40:" in str(caught.value)
    assert "30 more" in str(caught.value)


def test_every_bad_row_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD + b'{"prompt": "", "completion": null}\n' * 30)
    rows = read_rows(path)
    report = check_rows(rows, find_layout(rows))
    assert (report.errors.count, len(report.bad_rows), len(report.errors.problems)) == (60, 30, 20)
    assert report.duplicates == 29


def test_code_in_a_data_folder_is_refused_and_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    canary = tmp_path / "ran"
    (folder / "data.py").write_text(f"open({str(canary)!r}, 'w')")
    (folder / "train.jsonl").write_bytes(GOOD)
    with pytest.raises(DataError, match="never run"):
        read_rows(folder)
    assert not canary.exists()


def test_all_broken_files_of_a_folder_are_reported(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(b"{broken\n")
    with pytest.raises(DataError) as caught:
        read_rows(tmp_path)
    assert "a.jsonl:1" in str(caught.value)
    assert "b.jsonl:1" in str(caught.value)


def test_a_huge_line_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    with path.open("wb") as file:
        file.write(GOOD + b'{"prompt": "')
        file.truncate(200 * 2**20)
    with pytest.raises(DataError, match=r"train.jsonl:2: is longer than 64 MiB"):
        read_rows(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(DataError, match="permission denied"):
        read_rows(path)


def test_a_name_that_is_no_file_and_cannot_come_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"Check the path; or, for the Hub"):
        read_rows("nobody/nothing-of-this-name")


def test_wrong_column_maps_are_all_reported(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"question": "a", "answer": "b"}')
    with pytest.raises(DataError) as caught:
        find_layout(read_rows(path), {"promt": "question", "completion": "anser"})
    assert "Did you mean 'prompt'?" in str(caught.value)
    assert "Did you mean 'answer'?" in str(caught.value)


@pytest.mark.parametrize("name", ["train.jsonl", "train.json", "train.csv"])
def test_a_file_that_changes_under_the_run_is_noticed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    listed = b'[{"prompt": "a", "completion": "b"}]'
    path.write_bytes({".jsonl": GOOD, ".json": listed, ".csv": b"prompt,completion\na,b\n"}[path.suffix])
    rows = read_rows(path)
    path.write_bytes(b'"' * 80)
    with pytest.raises(DataError, match="changed since it was checked"):
        rows[0]


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_are_read_or_refused_but_never_crash(tmp_path: Path, seed: int) -> None:
    state = seed * 2654435761 % 2**32
    good = bytearray(GOOD * 5)
    for _ in range(3):
        state = (state * 1664525 + 1013904223) % 2**32
        good[state % len(good)] = struct.pack("<I", state)[2]
    path = tmp_path / f"train.{['jsonl', 'json', 'csv', 'txt'][seed % 4]}"
    path.write_bytes(bytes(good))
    with contextlib.suppress(DataError):
        rows = read_rows(path)
        check_rows(rows, find_layout(rows))
