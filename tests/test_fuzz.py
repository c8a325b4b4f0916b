"""Thousands of damaged data files and settings: each is read, or refused with its place; nothing else ever happens."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from regimen.document import parse_document
from regimen.errors import DataError, Refused, SpecError
from regimen.finetune.data.checkrows import check_rows
from regimen.finetune.data.layouts import find_layout
from regimen.finetune.data.rows import read_rows

GOOD = {
    ".jsonl": "".join(
        json.dumps({"prompt": f"p {n}", "completion": "c é\n", "extra": [n, None]}) + "\n" for n in range(6)
    ),
    ".json": json.dumps([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 4),
    ".csv": "prompt,completion\n" + "".join(f'"a, {n}",b\n' for n in range(5)),
    ".txt": "one\n\ntwo\n\nthree\n",
}
YAML = (
    "task: {name: text, data: {train: a.jsonl}}\nstrategy:\n  name: sft\n  optimizer: {lr: 1e-3}\nbudget: {epochs: 1}\n"
)
PIECES = [
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b"{",
    b"}",
    b"[",
    b",",
    b"\n",
    b"\r",
    b"NaN",
    b"\\u",
    b"1e999",
    b"\xc3",
]


def damaged(data: bytes, draw: random.Random) -> bytes:
    for _ in range(draw.randint(1, 4)):
        at, to = sorted((draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)))
        way = draw.randrange(4)
        if way == 0:
            data = data[:at] + draw.choice(PIECES) + data[at:]
        elif way == 1:
            data = data[:at] + data[min(to, at + 5) :]
        elif way == 2:
            data = data[:at]
        else:
            data = data[:at] + data[at:to] * 2 + data[to:]
        data = data or b" "
    return data


def check_files(folder: Path, count: int, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(count):
        suffix = draw.choice(list(GOOD))
        path = folder / f"rows{suffix}"
        path.write_bytes(damaged(GOOD[suffix].encode(), draw))
        try:
            rows = read_rows(path)
            check_rows(rows, find_layout(rows)).raise_if_bad()
        except (DataError, Refused) as error:
            assert all(path.name in problem.place for problem in error.problems if problem.place), f"{seed}/{number}"


def check_settings(count: int, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(count):
        text = damaged(YAML.encode(), draw).decode(errors="replace")
        try:
            parse_document(text, "run.yaml")
        except SpecError as error:
            assert all("run.yaml" in problem.place for problem in error.problems), f"{seed}/{number}"


def test_some_damaged_files(tmp_path: Path) -> None:
    check_files(tmp_path, 300, seed=0)
    check_settings(300, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_damaged_files(tmp_path: Path, seed: int) -> None:
    check_files(tmp_path, 5000, seed)
    check_settings(2500, seed)
