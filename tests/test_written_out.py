"""A forward written out by hand gives a model's own loss and gradients, or is not taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
datasets = pytest.importorskip("datasets")

import regimen  # noqa: E402
from regimen.finetune.batches.collate import collate, collate_packed  # noqa: E402
from regimen.finetune.batches.pairs import collate_pairs  # noqa: E402
from regimen.finetune.kernels.gate import gated_silu  # noqa: E402
from regimen.finetune.kernels.llama import seen_tokens  # noqa: E402
from regimen.finetune.kernels.norm import rms_norm  # noqa: E402
from regimen.finetune.kernels.rotary import rotated  # noqa: E402
from regimen.finetune.losses.head import ALL, PICKED, WRITTEN_OUT, is_written_out  # noqa: E402
from regimen.finetune.losses.preference import sequence_logprobs  # noqa: E402
from regimen.finetune.losses.supervised import sft_loss  # noqa: E402
from regimen.finetune.preferring import PreferenceStrategy  # noqa: E402
from regimen.finetune.tokens.tokenrows import TokenRows  # noqa: E402
from regimen.strategies.finetune.dpo import DPO  # noqa: E402
from regimen.strategies.finetune.sft import SFT  # noqa: E402
from test_losses import LLAMA, assert_same, gemma2, gpt2, gradients, llama, pairs, prompt_tuned, rows  # noqa: E402
from warm import Warm  # noqa: E402


def with_biases(model: Any) -> Any:
    """Norms and biases start as ones and zeros, which would hide a missing one."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.linspace(-0.3, 0.3, parameter.numel()))
    return model


def adapters(dropout: float = 0.0) -> Any:
    names = ["q_proj", "v_proj", "down_proj", "lm_head", "embed_tokens"]
    config = peft.LoraConfig(r=4, lora_dropout=dropout, init_lora_weights=False, target_modules=names)
    return peft.get_peft_model(llama(), config)


def qwen2() -> Any:
    torch.manual_seed(0)
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**LLAMA))


def mistral(window: int | None = None) -> Any:
    torch.manual_seed(0)
    return transformers.MistralForCausalLM(transformers.MistralConfig(**LLAMA, head_dim=16, sliding_window=window))


MODELS: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "tied": lambda: llama(tie_word_embeddings=True),
    "biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "one layer, no groups": lambda: llama(num_hidden_layers=1, num_key_value_heads=4),
    "long positions": lambda: llama(
        rope_parameters={"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0}
        | {"high_freq_factor": 4.0, "original_max_position_embeddings": 16}
    ),
    "qwen2": qwen2,
    "mistral": mistral,
    "adapters": adapters,
}
LAYOUTS: dict[str, Callable[[], Any]] = {
    "padded": lambda: collate(rows()),
    "in one row": lambda: collate_packed([rows()]),
    "folded": lambda: collate_packed([rows()[:5], rows()[5:]]),
    "one document": lambda: collate(rows()[:1]),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_loss_and_gradients_are_the_models_own(make: Callable[[], Any], layout: Callable[[], Any]) -> None:
    model, batch = with_biases(make()).train(), layout()
    assert is_written_out(model, batch.inputs)
    plain, ours = sft_loss(model, batch, ALL), sft_loss(model, batch, WRITTEN_OUT)
    assert float(ours.sum.detach()) == pytest.approx(float(plain.sum.detach()), rel=1e-5)
    assert_same(gradients(model, ours.sum), gradients(model, plain.sum), 5e-5)
    with torch.no_grad():
        ours, plain = sft_loss(model, batch, WRITTEN_OUT), sft_loss(model, batch, ALL)
    assert int(ours.metrics["token_accuracy"][0]) == int(plain.metrics["token_accuracy"][0])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_log_probabilities_of_pairs_are_the_models_own(make: Callable[[], Any], shared: bool) -> None:
    model, batch = with_biases(make()).train(), collate_pairs(pairs(), shared=shared)
    plain, ours = (sequence_logprobs(model, batch, way) for way in (ALL, WRITTEN_OUT))
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    losses = [(found.chosen_B - 2 * found.rejected_B).sum() for found in (ours, plain)]
    assert_same(*(gradients(model, loss) for loss in losses), 5e-5)


def test_a_batch_without_trained_tokens() -> None:
    model, batch = llama().train(), collate(rows())
    batch.targets = type(batch.targets)(*(tensor[:0] for tensor in batch.targets))
    loss = sft_loss(model, batch, WRITTEN_OUT)
    assert (float(loss.sum.detach()), loss.count) == (0.0, 0)
    assert all(float(gradient.abs().max()) == 0.0 for gradient in gradients(model, loss.sum))


def hooked() -> Any:
    model = llama()
    model.model.layers[1].mlp.register_forward_hook(lambda _, __, output: output + 1)
    return model


def checkpointed() -> Any:
    model = llama()
    model.gradient_checkpointing_enable()
    return model


def replaced() -> Any:
    """As accelerate's offloading does it."""
    model = llama()
    layer = model.model.layers[0].self_attn
    plain = layer.forward
    layer.forward = lambda **inputs: plain(**inputs)
    return model


NOT_TAKEN: dict[str, Callable[[], Any]] = {
    "another architecture": gpt2,
    "softcap": gemma2,
    "prompt tuning": prompt_tuned,
    "hook": hooked,
    "a forward of its own": replaced,
    "activation checkpointing": checkpointed,
    "sliding window": lambda: mistral(window=4),
    "dropout in attention": lambda: llama(attention_dropout=0.1),
    "rotation by the longest row": lambda: llama(
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, max_position_embeddings=16
    ),
    "another activation": lambda: llama(hidden_act="gelu"),
    "half precision": lambda: llama().to(torch.bfloat16),
}


@pytest.mark.parametrize("make", NOT_TAKEN.values(), ids=NOT_TAKEN.keys())
def test_what_is_not_known_takes_the_models_own_forward(make: Callable[[], Any]) -> None:
    model, batch = make().eval(), collate(rows())
    assert not is_written_out(model, batch.inputs)
    ours, plain = sft_loss(model, batch, WRITTEN_OUT), sft_loss(model, batch, PICKED)
    assert float(ours.sum.detach()) == pytest.approx(float(plain.sum.detach()), rel=1e-6)
    assert_same(gradients(model, ours.sum), gradients(model, plain.sum), 5e-5)


def test_autocast_and_masks_of_two_dimensions_take_the_models_own_forward() -> None:
    model, batch = llama(), collate(rows())
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_written_out(model, batch.inputs)
    assert not is_written_out(model, collate(rows(), attention_mask=True).inputs)
    assert is_written_out(model, batch.inputs)


@pytest.mark.parametrize("strategy", ["sft", "dpo"])
def test_a_model_that_computes_something_else_is_found_out(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strategy asks the very model: here another MLP stands under a name that is known."""
    made: Any = SFT() if strategy == "sft" else DPO()
    data = datasets.Dataset.from_list([dict(row) for row in (rows(16) if strategy == "sft" else pairs(16))])
    made.before_training(llama(), TokenRows(data), None, 0)
    assert made._way is WRITTEN_OUT
    mlp = transformers.models.llama.modeling_llama.LlamaMLP
    plain = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda self, x: 1.01 * plain(self, x))
    made.before_training(llama(), TokenRows(data), None, 0)
    assert made._way is PICKED


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_half_precision_is_not_taken_for_another_model(kind: str) -> None:
    """Shortcuts are proven in full precision: rounding to 8 bits would look like a fault of the model."""
    made: Any = SFT() if kind == "sft" else DPO()
    data = datasets.Dataset.from_list([dict(row) for row in (rows(16) if kind == "sft" else pairs(16))])
    notes: list[str] = []
    run = SimpleNamespace(note=notes.append)
    made._session = SimpleNamespace(
        autocast=lambda: torch.autocast("cpu", torch.bfloat16), run=run, processes=None, name_row=str
    )
    if kind == "sft":
        made.before_training(llama(), TokenRows(data), None, 0)
    else:
        PreferenceStrategy.before_training(made, llama(), TokenRows(data), None, 0)
    assert (made._way, notes) == (PICKED, [])


def test_the_parts_have_the_gradients_of_their_formulas() -> None:
    torch.manual_seed(0)
    x, weight, other = torch.randn(5, 8).double(), torch.randn(8).double(), torch.randn(5, 8).double()
    angles = torch.randn(5, 1, 2).double()
    cos, sin = (f(torch.cat([angles, angles], dim=-1)) for f in (torch.cos, torch.sin))
    torch.testing.assert_close(
        rms_norm(x, weight, 1e-3), torch.nn.functional.rms_norm(x, (8,), weight, 1e-3), rtol=1e-10, atol=0
    )
    torch.testing.assert_close(gated_silu(x, other), torch.nn.functional.silu(x) * other, rtol=1e-10, atol=0)
    heads = x.view(5, 2, 4)
    turned = heads * cos + torch.cat([-heads[..., 2:], heads[..., :2]], dim=-1) * sin
    torch.testing.assert_close(rotated(heads, cos, sin), turned, rtol=1e-10, atol=1e-12)
    for tensor in (x, weight, other):
        tensor.requires_grad_()
    heads = x.detach().view(5, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: rms_norm(*given, 1e-3), (x, weight))
    assert torch.autograd.gradcheck(gated_silu, (x, other))
    assert torch.autograd.gradcheck(lambda given: rotated(given, cos, sin), (heads,))


def test_documents_that_nobody_asks_about_are_left_out() -> None:
    lengths, seen_T, place_N = seen_tokens([3, 2, 2, 4], torch.tensor([4, 3, 4, 9]))
    assert (lengths, seen_T.tolist(), place_N.tolist()) == ([2, 3], [3, 4, 7, 8, 9], [1, 0, 1, 4])


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_run_gives_the_numbers_of_the_models_own_forward(kind: str, tmp_path: Path, warm: Warm) -> None:
    """Dropout in attention, too small to change a number, keeps the written-out forward away."""
    curves = []
    for dropout in (0.0, 1e-30):
        folder = tmp_path / str(dropout)
        made = llama(attention_dropout=dropout, vocab_size=120)
        made.save_pretrained(folder)
        _tokenizer().save_pretrained(folder)
        described = {
            "task": {"name": "text", "model": str(folder), "data": {"train": str(_data(kind, tmp_path))}, "samples": 0},
            "strategy": {"name": kind, "tuning": "full", "batch_size": 4, "optimizer": {"name": "adamw", "lr": 1e-3}},
            "budget": {"epochs": 2},
            "threads": 1,
            "output": str(tmp_path / "runs"),
        }
        record = regimen.run(described)
        curves.append([point.value for point in record.curve("train/loss") + record.curve("valid/loss")])
    assert len(curves[0]) > 2
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": 0, "[EOS]": 1, "[UNK]": 2} | {f"w{number}": number for number in range(3, 120)}
    core = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", eos_token="[EOS]")


def _data(kind: str, folder: Path) -> Path:
    import json

    keys = {"sft": ("prompt", "completion"), "dpo": ("prompt", "chosen", "rejected")}[kind]
    path = folder / f"{kind}.jsonl"
    lines = (
        {
            key: " ".join(f"w{3 + (7 * row + 5 * place + word) % 117}" for word in range(2 + (row + place) % 9))
            for place, key in enumerate(keys)
        }
        for row in range(40)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
