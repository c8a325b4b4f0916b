"""The same ids and labels as TRL's own preparation makes of the same rows, on made and on real tokenizers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")

from regimen.finetune.data.rows import read_rows  # noqa: E402
from tiny_tokenizers import CORPUS, PAIRS, PREFERENCES, REPLY, TOKENIZERS, TURNS, USER, encoder, ours  # noqa: E402


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def trl_sft(
    rows: list[dict[str, Any]], tokenizer: Any, tmp_path: Path, *, assistant: bool, max_length: int | None
) -> Any:
    """The rows as TRL's own SFT preparation makes them."""
    args = trl.SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", assistant_only_loss=assistant,
        max_length=max_length,
    )  # fmt: skip
    self = SimpleNamespace(_tokenizer=tokenizer, chat_template=None, completion_only_loss="prompt" in rows[0])
    prepared = trl.SFTTrainer._prepare_dataset(
        self, datasets.Dataset.from_list(rows), tokenizer, args, False, None, "train"
    )
    return [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in prepared]


def trl_dpo(rows: list[dict[str, Any]], tokenizer: Any, tmp_path: Path) -> Any:
    args = trl.DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_length=None)
    self = SimpleNamespace(_tokenizer=tokenizer)
    prepared = trl.DPOTrainer._prepare_dataset(self, datasets.Dataset.from_list(rows), tokenizer, args, "train")
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [{name: row[name] for name in names} for row in prepared]


@pytest.mark.parametrize("max_length", [None, 8])
def test_pairs_equal_trl(tokenizer: Any, tmp_path: Path, max_length: int | None) -> None:
    mine = ours(PAIRS, encoder(tokenizer, None, max_length=max_length))
    assert mine == trl_sft(PAIRS, tokenizer, tmp_path, assistant=False, max_length=max_length)


@pytest.mark.parametrize("template", ["plain", "chatml"])
def test_pairs_of_turns_equal_trl(tokenizer: Any, tmp_path: Path, template: str) -> None:
    mine = ours(TURNS, encoder(tokenizer, template, loss_on="completion"))
    assert mine == trl_sft(TURNS, tokenizer, tmp_path, assistant=False, max_length=None)
    mine = ours(TURNS, encoder(tokenizer, template, loss_on="assistant"))
    assert mine == trl_sft(TURNS, tokenizer, tmp_path, assistant=True, max_length=None)


@pytest.mark.parametrize("template", ["plain", "chatml"])
def test_chats_equal_trl(tokenizer: Any, tmp_path: Path, template: str) -> None:
    rows = [{"messages": [*row["prompt"], *row["completion"]]} for row in TURNS]
    for loss_on, assistant in (("assistant", True), ("all", False)):
        mine = ours(rows, encoder(tokenizer, template, loss_on=loss_on))
        assert mine == trl_sft(rows, tokenizer, tmp_path, assistant=assistant, max_length=None)


def test_text_equals_trl(tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"text": text} for text in (*CORPUS, "語")]
    assert ours(rows, encoder(tokenizer, None)) == trl_sft(rows, tokenizer, tmp_path, assistant=False, max_length=None)


def test_preferences_equal_trl(tokenizer: Any, tmp_path: Path) -> None:
    assert ours(PREFERENCES, encoder(tokenizer, None)) == trl_dpo(PREFERENCES, tokenizer, tmp_path)
    turns = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": [USER | REPLY | {"content": "no"}]}
        for row in TURNS
    ]
    assert ours(turns, encoder(tokenizer, "chatml")) == trl_dpo(turns, tokenizer, tmp_path)


@pytest.mark.parametrize("model", ["stories260k/hf", "tokenizers/gpt2/hf"])
def test_real_rows_on_real_tokenizers_equal_trl(data_dir: Path, tmp_path: Path, model: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(data_dir / model)
    pairs = [dict(row) for row in read_rows(data_dir / "t0_multitask")[:3600:60]]
    mine = ours(pairs, encoder(tokenizer, None, max_length=512))
    assert mine == trl_sft(pairs, tokenizer, tmp_path, assistant=False, max_length=512)
    preferences = [
        {key: row[key] for key in ("prompt", "chosen", "rejected")}
        for row in ({"prompt": pair["prompt"], "chosen": pair["completion"], "rejected": " no"} for pair in pairs)
    ]
    assert ours(preferences, encoder(tokenizer, None)) == trl_dpo(preferences, tokenizer, tmp_path)
    chats = [dict(row) for row in read_rows(data_dir / "tinker_examples/conversations.jsonl")[:20]]
    mine = ours(chats, encoder(tokenizer, "plain"))
    assert mine == trl_sft(chats, tokenizer, tmp_path, assistant=True, max_length=None)
