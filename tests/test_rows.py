"""Reading rows: every format gives the same rows, each with the place it came from, in bounded memory."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regimen.errors import DataError
from regimen.finetune.data.layouts import find_layout
from regimen.finetune.data.rows import as_rows, read_rows
from regimen.finetune.data.split import overlap, split_rows

ROWS = [
    {"prompt": "2+2=", "completion": "4"},
    {"prompt": 'é, "ü"\n', "completion": "語"},
    {"prompt": "c", "completion": "d"},
]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def write(path: Path, rows: list[dict[str, object]], *, indent: int | None = None) -> Path:
    if ".jsonl" in path.name:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        text = json.dumps(rows, ensure_ascii=False, indent=indent)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.json.gz"])
def test_json_formats_give_the_rows(tmp_path: Path, name: str) -> None:
    rows = read_rows(write(tmp_path / name, ROWS))
    assert list(rows) == ROWS
    assert [rows[2], rows[-3]] == [ROWS[2], ROWS[0]]
    assert rows.columns == ["prompt", "completion"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.dictionaries(st.text(max_size=6), JSON_VALUES, min_size=1, max_size=4), min_size=1, max_size=8))
def test_any_rows_come_back_from_any_json_format(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    for name, indent in (("p.jsonl", None), ("p.json", None), ("p.json", 2)):
        read = read_rows(write(tmp_path / name, rows, indent=indent))
        assert [read[index] for index in range(len(read))] == rows


def test_places_name_the_line_of_each_row(tmp_path: Path) -> None:
    listed = write(tmp_path / "a.json", ROWS, indent=1)
    assert [read_rows(listed).place(index).line for index in range(3)] == [2, 6, 10]
    lines = tmp_path / "b.jsonl"
    lines.write_text('{"a": 1}\n\n{"a": 2}\n\n\n')
    rows = read_rows(lines)
    assert [str(rows.place(index)) for index in range(2)] == [f"{lines}:1", f"{lines}:3"]
    assert "1 blank lines" in rows.notes[0]
    assert list(rows) == [{"a": 1}, {"a": 2}]


def test_byte_order_mark_and_crlf_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "x"}\r\n{"a": "y"}')
    assert list(read_rows(path)) == [{"a": "x"}, {"a": "y"}]
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n")
    assert list(read_rows(path)) == [{"a": "1", "b": "2"}]


def test_csv_keeps_line_breaks_in_cells_and_counts_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,completion\n"one\ntwo","say ""hi"""\nthree,four\n')
    rows = read_rows(path)
    assert list(rows) == [
        {"prompt": "one\ntwo", "completion": 'say "hi"'},
        {"prompt": "three", "completion": "four"},
    ]
    assert [rows.place(index).line for index in range(2)] == [2, 4]


def test_parquet_rows(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)
    rows = read_rows(path)
    assert list(rows) == ROWS
    assert [rows[index] for index in (2, 0, 1)] == [ROWS[2], ROWS[0], ROWS[1]]
    assert str(rows.place(2)) == f"{path} row 3"


def test_text_in_paragraphs_lines_or_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\nthree\n<|endoftext|>\nfour\n")
    assert [row["text"] for row in read_rows(path)] == ["one\ntwo", "three", "four"]
    assert [row["text"] for row in read_rows(path, text_block="line")] == ["one", "two", "three", "four"]
    assert [row["text"] for row in read_rows(path, text_block="file")] == ["one\ntwo\n\nthree", "four"]
    assert [read_rows(path).place(index).line for index in range(3)] == [1, 4, 6]


def test_folder_is_read_in_order_and_keeps_places(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    write(folder / "b.jsonl", ROWS[:1])
    write(folder / "deep" / "c.json", ROWS[1:])
    (folder / "README.txt").write_text("about")
    rows = read_rows(folder)
    assert list(rows) == ROWS
    assert [rows.place(index).path.name for index in range(3)] == ["b.jsonl", "c.json", "c.json"]


def test_squad_nesting_becomes_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    qas = [{"id": "1", "question": "q", "answers": [{"text": "t", "answer_start": 0}]}]
    path.write_text(
        json.dumps({"version": "1", "data": [{"title": "T", "paragraphs": [{"context": "c", "qas": qas}]}]})
    )
    assert list(read_rows(path)) == [{"title": "T", "context": "c", **qas[0]}]


def test_fingerprint_is_of_the_content_only(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl.gz", ROWS)
    assert read_rows(one).fingerprint == read_rows(two).fingerprint
    assert read_rows(one).fingerprint != read_rows(write(tmp_path / "c.jsonl", ROWS[1:])).fingerprint


def test_selected_rows_keep_their_places(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "a.jsonl", ROWS))
    chosen = rows.select([2, 0])
    assert list(chosen) == [ROWS[2], ROWS[0]]
    assert [chosen.place(index).line for index in range(2)] == [3, 1]
    assert list(rows[1:]) == ROWS[1:]


def test_datasets_and_lists_are_rows_too() -> None:
    rows = as_rows(ROWS)
    assert list(rows) == ROWS
    assert str(rows.place(1)) == "dataset row 2"


def test_memory_of_many_rows_is_their_offsets(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl"
    with path.open("w") as file:
        file.writelines(f'{{"prompt": "what is {index}", "completion": "{"y" * 200}"}}\n' for index in range(20_000))
    tracemalloc.start()
    rows = read_rows(path)
    for _ in rows:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 20_000
    assert peak < 40 * len(rows) + 200_000, "more than offsets is kept in memory"


@settings(max_examples=50)
@given(rows=st.integers(2, 500), fraction=st.floats(0, 0.9), seed=st.integers(0, 2**32))
def test_split_parts_are_every_row_once(rows: int, fraction: float, seed: int) -> None:
    if rows - max(1, round(rows * fraction)) < 1:
        return
    train, valid = split_rows(rows, fraction, seed)
    assert sorted([*train, *valid]) == list(range(rows))
    assert (len(valid) > 0) == (fraction > 0)
    again = split_rows(rows, fraction, seed)
    assert (train == again.train).all()


def test_split_refuses_what_leaves_nothing() -> None:
    for rows, fraction in ((1, 0.5), (10, 1.0), (10, -0.1)):
        with pytest.raises(ValueError, match="eval_split"):
            split_rows(rows, fraction, 0)


def test_overlap_is_found_exactly_and_but_for_case_and_spaces() -> None:
    train = as_rows([{"text": "One  two"}, {"text": "three"}, {"text": "four"}], "train")
    valid = as_rows([{"text": "three"}, {"text": "one TWO "}, {"text": "five"}], "valid")
    found = overlap(train, valid, find_layout(train))
    assert (found.exact, found.normalized) == (1, 2)
    assert [(str(mine), str(theirs)) for mine, theirs in found.places] == [
        ("valid row 1", "train row 2"),
        ("valid row 2", "train row 1"),
    ]


@pytest.mark.parametrize(
    ("file", "rows"),
    [
        ("dolly/dolly_train.jsonl.gz", 13368), ("llamafactory_demo/alpaca_en_demo.json", 999),
        ("llamafactory_demo/glaive_toolcall_en_demo.json", 300), ("llamafactory_demo/wiki_demo.txt", 1),
        ("self_instruct_seed/seed_tasks.jsonl", 175), ("tinker_examples/conversations.jsonl", 128),
        ("fastchat/dummy_conversation.json", 500), ("gsm8k/train.jsonl", 7473), ("xquad/xquad.zh.json", 1190),
        ("hh_rlhf/harmless-base-test.jsonl.gz", 2312), ("mmlu_small/mmlu_test_1444.jsonl", 1444),
        ("t0_multitask", 3600), ("tinyshakespeare/input.txt", 7222),
    ],
)  # fmt: skip
def test_real_files_are_read(data_dir: Path, file: str, rows: int) -> None:
    read = read_rows(data_dir / file)
    assert len(read) == rows
    assert sum(1 for _ in read) == rows


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(DataError, match=r"Did you mean 'train.jsonl'"):
        read_rows(tmp_path / "trian.jsonl")
