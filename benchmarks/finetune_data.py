"""The model and the random rows that the fine-tuning benchmark trains on, the same in every run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

import regimen
from regimen.finetune import TrainingStrategy

VOCABULARY = 8000


def make_model(hidden: int) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=4,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
    )
    return transformers.LlamaForCausalLM(config)


def make_tokenizer() -> Any:
    words = {"[PAD]": 0, "[EOS]": 1, "[UNK]": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", eos_token="[EOS]")


def lognormal(random: np.random.Generator, median: float, sigma: float, count: int) -> Any:
    return np.clip(np.exp(random.normal(np.log(median), sigma, count)), 4, 500).astype(int)


def make_rows(count: int) -> list[dict[str, str]]:
    """Random words, 65 a row on average, of which the last 45 % are trained."""
    random = np.random.default_rng(0)
    rows = []
    for length in lognormal(random, 48, 0.75, count):
        prompt = round(0.55 * length)
        rows.append({"prompt": words(random, prompt), "completion": words(random, max(1, length - prompt - 1))})
    return rows


def make_pairs(count: int) -> list[dict[str, str]]:
    """Random words; the prompt is 36 % of a pair's tokens when counted once."""
    random = np.random.default_rng(1)
    prompt, chosen, rejected = (lognormal(random, median, 0.6, count) for median in (52, 46, 46))
    sizes = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return [{part: words(random, length[i]) for part, length in sizes.items()} for i in range(count)]


def words(random: np.random.Generator, length: int) -> str:
    return "".join(f" w{token}" for token in random.integers(3, VOCABULARY, length))


def write_rows(rows: list[dict[str, str]], path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tokens_of(description: dict[str, Any]) -> list[Any]:
    """The rows of a run as tokens, made by the run's own code: what both sides train on."""
    prepared = regimen.prepare(description)
    assert isinstance(prepared.strategy, TrainingStrategy)
    return list(prepared.strategy.looked.splits["train"].dataset)
