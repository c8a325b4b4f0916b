"""Many rows: the report of what became of them, a `datasets.Dataset` of them, and the preview."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("datasets")

from regimen.errors import DataError, Refused
from regimen.finetune.data.canonical import Conversation
from regimen.finetune.data.layouts import find_layout
from regimen.finetune.data.originals import to_dataset
from regimen.finetune.data.rows import as_rows, read_rows
from regimen.finetune.tokens.outcome import ANSWER_CUT, IGNORED
from regimen.finetune.tokens.prepare import prepare
from regimen.finetune.tokens.preview import preview, preview_as_text, render_preview
from tiny_tokenizers import PAIRS, PREFERENCES, REPLY, TOKENIZERS, USER, encoder, kept, ours


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def test_prepare_reports_what_became_of_the_rows(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    rows = [*PAIRS, PAIRS[0], {"prompt": "How are you? " * 60, "completion": "no"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare(read_rows(path), encoder(tokenizer, None, max_length=40), cache_dir=tmp_path / "cache")
    report = prepared.report
    assert (report.rows, report.kept) == (7, 6)
    assert report.duplicates == 6 - len({str((row["input_ids"], row["labels"])) for row in prepared.dataset})
    assert report.dropped[ANSWER_CUT].places == [f"{path}:7"]
    assert prepared.dataset["row"][:] == list(range(6))
    assert report.tokens == sum(len(ids) for ids in prepared.dataset["input_ids"])
    assert report.trained_tokens == sum(label != IGNORED for row in prepared.dataset["labels"] for label in row)
    assert report.lengths["max"] == max(len(ids) for ids in prepared.dataset["input_ids"])
    assert f"{path}:7" in "\n".join(report.lines())
    assert json.loads(json.dumps(report.to_json()))["kept"] == 6


def test_prepare_refuses_what_it_cannot_train_naming_every_row(tokenizer: Any) -> None:
    rows = [*PAIRS, {"prompt": "a", "completion": "four " * 50}, {"prompt": "b", "completion": "four " * 60}]
    with pytest.raises(Refused) as caught:
        prepare(rows, encoder(tokenizer, None, max_length=30, overlength="refuse"))
    assert [problem.place for problem in caught.value.problems] == ["dataset row 6", "dataset row 7"]
    with pytest.raises(Refused, match="all 7 rows were dropped"):
        prepare(rows, encoder(tokenizer, None, max_length=1))
    with pytest.raises(DataError, match="dataset row 2: completion is null"):
        prepare([PAIRS[0], {"prompt": "a", "completion": None}], encoder(tokenizer, None))


def test_a_datasets_dataset_gives_what_the_file_gives(tokenizer: Any, tmp_path: Path) -> None:
    rows = as_rows([{"messages": [USER, REPLY], "id": 1, "score": 0.5}, {"messages": [USER, REPLY | {"name": "x"}]}])
    dataset = to_dataset(rows, tmp_path)
    assert dataset[0] == {"messages": [USER, REPLY], "id": 1, "score": 0.5}
    assert dataset[1] == {"messages": [USER, REPLY | {"name": "x"}], "id": None, "score": None}
    encode = encoder(tokenizer)
    assert ours(dataset, encode) == ours(list(rows), encode)


def test_preview_shows_the_tokens_that_are_trained(tokenizer: Any) -> None:
    rows = as_rows([{"messages": [USER, REPLY]}, {"messages": [USER, REPLY | {"content": "\x1b[31mred"}]}])
    shown = preview(rows, find_layout(rows), encoder(tokenizer), range(9))
    tokens = kept(encoder(tokenizer).encode([Conversation([USER, REPLY])])[0])
    assert [token.id for token in shown[0].tokens] == tokens["input_ids"]
    assert [token.trained for token in shown[0].tokens] == [label != IGNORED for label in tokens["labels"]]
    text = preview_as_text(shown)
    assert "⟦Well, thank you.</s>⟧" in text.replace("⟦ ", "⟦")
    assert "\x1b" not in text
    assert "\x1b" not in render_preview(shown).plain
    assert str(shown[0].tokens[-1].id) in preview_as_text(shown, ids=True)
    assert json.loads(json.dumps(shown[0].to_json()))["place"] == "dataset row 1"


def test_preview_says_why_a_row_is_left_out(tokenizer: Any) -> None:
    rows = as_rows(PAIRS)
    shown = preview(rows, find_layout(rows), encoder(tokenizer, None, max_length=1), [0])
    assert ANSWER_CUT in preview_as_text(shown)
    preferences = as_rows(PREFERENCES)
    text = preview_as_text(preview(preferences, find_layout(preferences), encoder(tokenizer, None), [0]))
    assert "chosen: ⟦" in text
    assert "rejected: ⟦" in text
