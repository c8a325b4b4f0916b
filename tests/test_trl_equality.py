"""Our losses and gradients are TRL's: same weights, its own collated batch, float32, within 1e-5 relative."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regimen.finetune.batches.collate import Row, collate, collate_packed
from regimen.finetune.batches.pairs import PairRow, collate_pairs
from regimen.finetune.losses.head import PICKED, WRITTEN_OUT, Way
from regimen.finetune.losses.preference import DPOLoss, Reference, dpo_loss, sequence_logprobs
from regimen.finetune.losses.supervised import sft_loss

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")
peft = pytest.importorskip("peft")
tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

VOCABULARY = 60
TOLERANCE = 1e-5
DPO_TYPES: list[DPOLoss] = ["sigmoid", "hinge", "ipo", "robust"]

WAYS = (PICKED, WRITTEN_OUT)


def tiny_model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        # Larger than usual, so that losses differ from the uniform log(V) and a wrong mask is seen.
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config)


def with_lora(model: Any) -> Any:
    torch.manual_seed(5)
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, lora_dropout=0.0, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model


def tokenizer() -> Any:
    words = {"[PAD]": 0, "[EOS]": 1, "[UNK]": 2} | {f"w{i}": i for i in range(3, VOCABULARY)}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", eos_token="[EOS]")


def token_ids(random: np.random.Generator, at_most: int) -> list[int]:
    return [int(token) for token in random.integers(3, VOCABULARY, random.integers(2, at_most))]


def sft_rows(count: int = 6) -> list[Row]:
    random = np.random.default_rng(1)
    rows: list[Row] = []
    for number in range(count):
        ids = token_ids(random, 24)
        half = len(ids) // 2
        rows.append({"input_ids": ids, "labels": [-100] * half + ids[half:], "row": number})
    return rows


def pair_rows(count: int = 5) -> list[PairRow]:
    random = np.random.default_rng(2)
    return [
        {"row": number} | {part: token_ids(random, 12) for part in ("prompt_ids", "chosen_ids", "rejected_ids")}
        for number in range(count)
    ]


def settings(tmp_path: Path, size: int) -> dict[str, Any]:
    return {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": size,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "max_length": None,
        "gradient_checkpointing": False,
    }


def gradient_norm(model: Any) -> float:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients))


def backward(model: Any, loss: torch.Tensor) -> tuple[float, float]:
    model.zero_grad()
    loss.backward()
    return float(loss.detach()), gradient_norm(model)


def trl_sft(tmp_path: Path, model: Any, rows: list[Row], **extra: Any) -> tuple[float, float]:
    data = datasets.Dataset.from_list([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
    args = trl.SFTConfig(**settings(tmp_path, len(rows)), **extra)
    trainer = trl.SFTTrainer(model, args=args, train_dataset=data, processing_class=tokenizer())
    model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    return backward(model, trainer.compute_loss(model, batch))


@pytest.mark.parametrize("tune", [lambda model: model, with_lora], ids=["full", "lora"])
@pytest.mark.parametrize("padding_free", [False, True], ids=["padded", "padding-free"])
def test_sft_loss_and_gradient_norm(tmp_path: Path, tune: Any, padding_free: bool) -> None:
    model, rows = tune(tiny_model()), sft_rows()
    theirs = trl_sft(tmp_path, copy.deepcopy(model), rows, padding_free=padding_free)
    model.train()
    for batch, way in itertools.product((collate(rows), collate_packed([rows[:4], rows[4:]])), WAYS):
        loss = sft_loss(model, batch, way)
        assert backward(model, loss.sum / loss.count) == pytest.approx(theirs, rel=TOLERANCE)


def trl_dpo(
    tmp_path: Path, model: Any, reference: Any, rows: list[PairRow], loss_type: str, smoothing: float
) -> tuple[float, float]:
    parts = ("prompt_ids", "chosen_ids", "rejected_ids")
    names = datasets.Dataset.from_list(
        [{part[:-4]: " ".join(f"w{token}" for token in row[part]) for part in parts} for row in rows]  # type: ignore[union-attr]
    )
    args = trl.DPOConfig(**settings(tmp_path, len(rows)), loss_type=loss_type, label_smoothing=smoothing, beta=0.3)
    trainer = trl.DPOTrainer(model, reference, args=args, train_dataset=names, processing_class=tokenizer())
    trainer.train_dataset = datasets.Dataset.from_list([{part: row[part] for part in parts} for row in rows])
    model.train()
    batch = next(iter(trainer.get_train_dataloader()))
    return backward(model, trainer.compute_loss(model, batch))


def our_dpo(
    model: Any, reference: Any, rows: list[PairRow], loss_type: DPOLoss, smoothing: float, shared: bool, way: Way
) -> tuple[float, float]:
    batch = collate_pairs(rows, shared=shared)
    with torch.no_grad():
        chosen_B, rejected_B, *_ = sequence_logprobs(reference, batch, way)
    model.train()
    loss = dpo_loss(
        sequence_logprobs(model, batch, way),
        Reference(chosen_B, rejected_B),
        beta=0.3,
        loss_type=loss_type,
        label_smoothing=smoothing,
    )
    return backward(model, loss.sum / loss.count)


@pytest.mark.parametrize("loss_type", DPO_TYPES)
def test_dpo_loss_and_gradient_norm(tmp_path: Path, loss_type: DPOLoss) -> None:
    model, reference, rows = tiny_model(), tiny_model(seed=1), pair_rows()
    smoothing = 0.3 if loss_type == "robust" else 0.0
    theirs = trl_dpo(tmp_path, copy.deepcopy(model), copy.deepcopy(reference), rows, loss_type, smoothing)
    for shared, way in itertools.product((True, False), WAYS):
        ours = our_dpo(model, reference, rows, loss_type, smoothing, shared, way)
        assert ours == pytest.approx(theirs, rel=TOLERANCE)


def test_dpo_with_lora_against_a_second_model(tmp_path: Path) -> None:
    model, reference, rows = with_lora(tiny_model()), tiny_model(seed=1), pair_rows()
    theirs = trl_dpo(tmp_path, copy.deepcopy(model), copy.deepcopy(reference), rows, "sigmoid", 0.0)
    for way in WAYS:
        ours = our_dpo(model, reference, rows, "sigmoid", 0.0, True, way)
        assert ours == pytest.approx(theirs, rel=TOLERANCE)
