"""The estimate counts what PyTorch really allocates, follows the settings, and costs no memory itself."""

from __future__ import annotations

import resource
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from regimen.finetune.batches.collate import collate  # noqa: E402
from regimen.finetune.losses.supervised import sft_loss  # noqa: E402
from regimen.finetune.memory import Memory, estimate_memory  # noqa: E402
from regimen.finetune.tiny import tiny_config  # noqa: E402
from regimen.modelforge import create_strategy  # noqa: E402


def estimate(
    strategy: str = "sft", config: Any = None, longest: int = 128, trained: float = 1.0, **given: Any
) -> Memory:
    made = create_strategy(strategy)
    for name, value in given.items():
        setattr(made, name, value)
    return estimate_memory(made, config or tiny_config(), longest, trained=trained)


FULL = {"tuning": {"name": "full"}}
LORA = {"tuning": {"name": "lora", "r": 4}}


def test_weights_gradients_and_states_are_exact() -> None:
    found = estimate(**FULL)
    parameters = transformers.LlamaForCausalLM(tiny_config()).num_parameters()
    assert found.parameters == found.trained == parameters
    assert found.gradients == 4 * parameters
    assert found.optimizer == 8 * parameters
    assert 4 * parameters <= found.weights <= 4 * parameters + 4096  # tables of positions
    assert found.total == sum(found[:5])
    assert found.to_json()["total"] == found.total


def test_activations_are_those_of_a_real_step() -> None:
    """PyTorch's own profiler on real tensors: the most that was allocated at once, weights aside."""
    model = transformers.LlamaForCausalLM(tiny_config()).train()
    batch = collate([{"input_ids": [1] * 128, "labels": [1] * 128, "row": 0}] * 8)
    with torch.profiler.profile(profile_memory=True, record_shapes=False) as profile:
        sft_loss(model, batch).sum.backward()
    changes = [event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for change in changes:
        now += change
        peak = max(peak, now)
    found = estimate(**FULL)
    counted = found.activations / 1.6 + found.gradients
    assert counted == pytest.approx(peak, rel=0.1)


def test_settings_move_it_the_right_way() -> None:
    usual = estimate(**LORA)
    assert usual.trained < usual.parameters / 10
    assert estimate(**LORA, gradient_checkpointing=True).activations < usual.activations / 1.5
    assert estimate(**LORA, longest=256).activations > 1.9 * usual.activations
    assert estimate(**LORA, batch_size=16).activations > 1.9 * usual.activations
    assert estimate(**LORA, trained=0.1).activations < usual.activations
    assert estimate(**FULL, accumulate=4).activations > estimate(**FULL).activations


def test_pairs_and_methods_that_start_from_the_weights_are_counted() -> None:
    assert estimate("dpo", **LORA).activations > 0
    pissa = estimate(tuning={"name": "lora", "r": 4, "init": "pissa"})
    assert pissa == estimate(**LORA)


def test_a_model_of_eight_billion_parameters_takes_no_memory_to_judge() -> None:
    large = transformers.LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = estimate(config=large, batch_size=1, **LORA)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert 32e9 < found.weights < 33e9
