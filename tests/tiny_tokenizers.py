"""Tiny tokenizers of both common kinds, and a few rows, for the tests of tokens and masks."""

from __future__ import annotations

import json
from typing import Any

import pytest

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from regimen.finetune.tokens.encoder import Encoder  # noqa: E402
from regimen.finetune.tokens.outcome import IGNORED, Kept, Outcome, TokenSettings  # noqa: E402
from regimen.finetune.tokens.prepare import prepare  # noqa: E402
from regimen.finetune.tokens.template import Template  # noqa: E402

CORPUS = [
    "Hello there, how are you? What is 2 + 2? The answer is four.\n",
    "User: Assistant: system tool 0123456789 äöü 語",
]
USER, REPLY = {"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well, thank you."}
PAIRS = [
    {"prompt": "What is 2 + 2?", "completion": " four"},
    {"prompt": "What is 2 + 2? ", "completion": "four"},
    {"prompt": "Hello th", "completion": "ere, how"},
    {"prompt": "äö\n", "completion": "語 🙂"},
    {"prompt": "ended", "completion": " already</s>"},
]
TURNS = [
    {"prompt": [USER], "completion": [REPLY]},
    {"prompt": [{"role": "system", "content": "be kind"}, USER, REPLY, USER], "completion": [REPLY]},
]
PREFERENCES = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": " no, 語"} for row in PAIRS]


def byte_level(*, bos: bool = False) -> Any:
    """A tokenizer in the manner of GPT-2: bytes, spaces inside the words, no token added unless `bos`."""
    core = tokenizers.Tokenizer(tokenizers.models.BPE())
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(CORPUS * 3, trainer)
    if bos:
        core.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")


def metaspace() -> Any:
    """A tokenizer in the manner of Llama 2: a space before the text, byte fallback, a beginning token."""
    core = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    core.decoder = tokenizers.decoders.Sequence(
        [tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    core.train_from_iterator([*CORPUS * 3], trainer)
    vocabulary = json.loads(core.to_str())
    for token in byte_tokens:
        vocabulary["model"]["vocab"].setdefault(token, len(vocabulary["model"]["vocab"]))
    core = tokenizers.Tokenizer.from_str(json.dumps(vocabulary))
    core.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


TOKENIZERS = {"bytes": byte_level, "bytes-bos": lambda: byte_level(bos=True), "metaspace": metaspace}


def encoder(tokenizer: Any, template: str | None = "plain", **settings: Any) -> Encoder:
    chosen = None if template is None else Template.from_tokenizer(tokenizer, template)
    return Encoder(tokenizer, TokenSettings(**settings), chosen)


def kept(outcome: Outcome) -> Any:
    assert isinstance(outcome, Kept), outcome
    return outcome.tokens


def trained_text(tokenizer: Any, tokens: Any) -> str:
    return str(tokenizer.decode([label for label in tokens["labels"] if label != IGNORED])).strip()


def ours(rows: list[dict[str, Any]], encode: Encoder) -> list[dict[str, Any]]:
    dataset = prepare(rows, encode).dataset
    return [{key: value for key, value in row.items() if key != "row"} for row in dataset]
