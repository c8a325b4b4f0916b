"""The model and the random rows that the fine-tuning benchmark trains on, the same in every run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from regimen.finetune.collate import Row

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


def make_rows(count: int) -> list[Row]:
    """Random tokens, 65 a row on average, of which the last 45 % are trained."""
    random = np.random.default_rng(0)
    rows: list[Row] = []
    for number, length in enumerate(lognormal(random, 48, 0.75, count)):
        ids = random.integers(3, VOCABULARY, length).tolist()
        prompt = round(0.55 * length)
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:], "row": number})
    return rows


def make_pair_texts(count: int) -> list[dict[str, str]]:
    """Random words; the prompt is 36 % of a pair's tokens when counted once."""
    random = np.random.default_rng(1)
    prompt, chosen, rejected = (lognormal(random, median, 0.6, count) for median in (52, 46, 46))
    sizes = {"prompt": prompt, "chosen": chosen, "rejected": rejected}

    def words(length: int) -> str:
        return "".join(f" w{token}" for token in random.integers(3, VOCABULARY, length))

    return [{part: words(length[i]) for part, length in sizes.items()} for i in range(count)]
