"""Every shortcut gives the numbers of the plain way, for the loss and for the gradient of every parameter."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from regimen.finetune.batches.collate import Batch, Row, collate, collate_packed, folded  # noqa: E402
from regimen.finetune.batches.order import length_batches, sorted_batches  # noqa: E402
from regimen.finetune.batches.pairs import PairRow, collate_pairs, shared_lengths  # noqa: E402
from regimen.finetune.losses.head import PICKED  # noqa: E402
from regimen.finetune.losses.logprobs import token_logprobs  # noqa: E402
from regimen.finetune.losses.preference import DPOLoss, Reference, dpo_loss, sequence_logprobs  # noqa: E402
from regimen.finetune.losses.reference import reference_logprobs  # noqa: E402
from regimen.finetune.losses.shortcuts import check_packing, check_shared_prompt, check_way  # noqa: E402
from regimen.finetune.losses.supervised import sft_loss  # noqa: E402

VOCABULARY = 50
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}
LLAMA = SIZES | {"intermediate_size": 48, "num_key_value_heads": 2}


def llama(attention: str = "sdpa", **extra: Any) -> Any:
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA | {"attn_implementation": attention} | extra))


def lora() -> Any:
    config = peft.LoraConfig(r=4, lora_dropout=0.0, init_lora_weights=False, target_modules=["q_proj", "lm_head"])
    return peft.get_peft_model(llama(), config)


def prompt_tuned() -> Any:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    return peft.get_peft_model(llama(), config)


def gemma2() -> Any:
    torch.manual_seed(0)
    config = transformers.Gemma2Config(**LLAMA, head_dim=8, final_logit_softcapping=2.0, attn_implementation="eager")
    return transformers.Gemma2ForCausalLM(config)


def cohere() -> Any:
    torch.manual_seed(0)
    return transformers.CohereForCausalLM(transformers.CohereConfig(**LLAMA, logit_scale=0.25))


def gpt2() -> Any:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    return transformers.GPT2LMHeadModel(config)


def mixture() -> Any:
    torch.manual_seed(0)
    config = transformers.MixtralConfig(**LLAMA, num_local_experts=4, output_router_logits=True)
    return transformers.MixtralForCausalLM(config)


MODELS: dict[str, Callable[[], Any]] = {
    "llama": llama,
    "llama-eager": lambda: llama("eager"),
    "llama-tied": lambda: llama(tie_word_embeddings=True),
    "llama-lora-on-the-head": lora,
    "gemma2-softcap": gemma2,
    "cohere-logit-scale": cohere,
    "gpt2": gpt2,
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


def some_ids(random: np.random.Generator, at_most: int) -> list[int]:
    return [int(token) for token in random.integers(1, VOCABULARY, random.integers(2, at_most))]


def rows(count: int = 8) -> list[Row]:
    random = np.random.default_rng(1)
    made: list[Row] = []
    for number in range(count):
        ids = some_ids(random, 24)
        half = len(ids) // 2
        made.append({"input_ids": ids, "labels": [-100] * half + ids[half:], "row": 100 + number})
    return made


def pairs(count: int = 6) -> list[PairRow]:
    random = np.random.default_rng(2)
    parts = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [{"row": number} | {part: some_ids(random, 10) for part in parts} for number in range(count)]


def gradients(model: Any, loss: Any) -> list[Any]:
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def assert_same(ours: list[Any], theirs: list[Any], tolerance: float = 2e-5) -> None:
    """Every gradient, relative to its own largest entry."""
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert float((one - other).abs().max()) <= tolerance * float(other.abs().max()) + 1e-7


@every_model
def test_the_loss_is_the_models_own(make: Callable[[], Any]) -> None:
    model = make().train()
    batch = collate(rows())
    loss = sft_loss(model, batch)
    own = model(**batch).loss
    assert float((loss.sum / loss.count).detach()) == pytest.approx(float(own.detach()), rel=1e-5)
    assert_same(gradients(model, loss.sum / loss.count), gradients(model, own))


@every_model
def test_only_trained_tokens_reach_the_head(make: Callable[[], Any]) -> None:
    model, batch, seen = make(), collate(rows()), []
    hook = model.get_output_embeddings().register_forward_hook(lambda _, __, output: seen.append(output.shape[:2]))
    sft_loss(model, batch)
    hook.remove()
    assert seen == [(1, batch.targets.token_N.numel())]
    assert check_way(model, batch, PICKED) < 1e-6


def test_a_model_without_an_output_head_takes_the_full_logits() -> None:
    model, batch = llama(), collate(rows())
    expected = float(sft_loss(model, batch).sum.detach())
    model.get_output_embeddings = lambda: None
    assert float(sft_loss(model, batch).sum.detach()) == pytest.approx(expected, rel=1e-6)


def test_virtual_tokens_in_front_shift_nothing() -> None:
    model, batch = prompt_tuned(), collate(rows())
    assert check_way(model, batch, PICKED) < 1e-6
    masked = collate(rows(), attention_mask=True)
    own = model(**masked).loss
    loss = sft_loss(model, masked)
    assert float((loss.sum / loss.count).detach()) == pytest.approx(float(own.detach()), rel=1e-5)


def test_a_mixture_of_experts_keeps_its_balancing_loss() -> None:
    model, batch = mixture(), collate(rows(), attention_mask=False)
    loss = sft_loss(model, batch)
    assert float((loss.sum / loss.count).detach()) == pytest.approx(float(model(**batch).loss.detach()), rel=1e-5)


def test_evaluation_counts_correct_tokens() -> None:
    model, batch = llama(), collate(rows())
    with torch.no_grad():
        correct, count = sft_loss(model, batch).metrics["token_accuracy"]
        best_BT = model(**batch).logits.argmax(dim=-1)
    matches = (best_BT[:, :-1] == batch["labels"][:, 1:]).sum()
    assert (int(correct), count) == (int(matches), batch.targets.token_N.numel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("num_rows", "num_tokens"), [(0, 7), (1, 1), (5, 50), (9, 100_000), (2, 400_000)])
def test_log_probabilities_in_pieces_are_those_of_cross_entropy(num_rows: int, num_tokens: int, dtype: Any) -> None:
    torch.manual_seed(num_rows)
    ours = (20 * torch.randn(num_rows, num_tokens)).to(dtype)
    if num_rows > 2:
        ours[0, :3] = torch.tensor([1e4, -1e4, -torch.inf])
    token_N, weight_N = torch.randint(num_tokens, (num_rows,)), torch.randn(num_rows)
    plain = ours.clone().requires_grad_()
    ours.requires_grad_()
    wanted = -torch.nn.functional.cross_entropy(plain.float(), token_N, reduction="none")
    (wanted * weight_N).sum().backward()
    for overwrite in (False, True):
        ours.grad = None
        found = token_logprobs(ours.clone(), token_N, overwrite=overwrite)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-5)
        (found * weight_N).sum().backward()
        assert ours.grad.dtype == dtype
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-7)


def test_logits_that_somebody_else_reads_are_not_overwritten_without_a_word() -> None:
    made = torch.randn(3, 9, requires_grad=True)
    logits = made.tanh()  # its gradient needs what it gave
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        token_logprobs(logits, torch.tensor([1, 2, 3]), overwrite=True).sum().backward()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_give_no_number(bad: float) -> None:
    logits = torch.tensor([[0.0, bad, 1.0], [0.0, 2.0, 1.0]], requires_grad=True)
    for overwrite in (False, True):
        found = token_logprobs(logits.clone(), torch.tensor([0, 0]), overwrite=overwrite)
        assert torch.isnan(found[0])
        assert torch.isfinite(found[1])


def test_bfloat16_autocast_takes_the_loss_in_float32() -> None:
    model, batch = llama(initializer_range=0.05), collate(rows())
    exact = float(sft_loss(model, batch).sum.detach())
    with torch.autocast("cpu", torch.bfloat16):
        loss = sft_loss(model, batch)
        assert check_shared_prompt(model, pairs()) < 0.01
    assert loss.sum.dtype == torch.float32
    assert float(loss.sum.detach()) == pytest.approx(exact, rel=1e-2)


@every_model
def test_packed_and_folded_equal_padded(make: Callable[[], Any]) -> None:
    model, data = make(), rows()
    plain = gradients(model, sft_loss(model, collate(data)).sum)
    for batch in (collate_packed([data[:5], data[5:]]), collate_packed([data]), collate(data, fold=True)):
        assert_same(gradients(model, sft_loss(model, batch).sum), plain)
    assert check_packing(model, [data[:5], data[5:]]) < 1e-5


def test_folding_saves_padding_and_keeps_rows() -> None:
    data = rows()
    assert len(folded(data)) < len(data)
    batch = collate(data, fold=True)
    assert batch["input_ids"].numel() < collate(data)["input_ids"].numel()
    assert sorted(batch.rows) == [100 + number for number in range(8)]
    assert batch.num_tokens == sum(len(row["input_ids"]) for row in data)  # type: ignore[arg-type]


def test_a_models_own_loss_trains_no_token_across_documents() -> None:
    model, data = llama(), [{**row, "labels": row["input_ids"]} for row in rows()]
    batch = collate_packed([data])
    loss = sft_loss(model, batch)
    assert loss.count == sum(len(row["input_ids"]) - 1 for row in data)
    assert float((loss.sum / loss.count).detach()) == pytest.approx(
        float(model(**batch, use_cache=False).loss.detach()), rel=1e-5
    )


def test_padding_and_masks_change_nothing() -> None:
    model, data = llama(), rows()
    plain = gradients(model, sft_loss(model, collate(data)).sum)
    assert_same(gradients(model, sft_loss(model, collate(data, attention_mask=True)).sum), plain)
    alone = [sft_loss(model, collate([row])).sum for row in data]
    assert_same(gradients(model, torch.stack(alone).sum()), plain)


def test_eight_times_one_row_is_one_time_eight() -> None:
    model, data = llama(), rows()
    whole = sft_loss(model, collate(data))
    parts = [sft_loss(model, collate([row])) for row in data]
    count = sum(part.count for part in parts)
    assert count == whole.count
    total = torch.stack([part.sum for part in parts]).sum() / count
    assert float(total.detach()) == pytest.approx(float((whole.sum / count).detach()), rel=1e-6)
    assert_same(gradients(model, total), gradients(model, whole.sum / count), tolerance=2e-6)


def test_a_batch_survives_a_worker_process_and_a_device() -> None:
    batch: Batch = pickle.loads(pickle.dumps(collate(rows())))
    assert batch.rows == [100 + number for number in range(8)]
    assert torch.equal(batch.to("cpu").targets.token_N, batch.targets.token_N)
    pair_batch = pickle.loads(pickle.dumps(collate_pairs(pairs())))
    assert torch.equal(pair_batch.to("cpu").answer_N, pair_batch.answer_N)


@every_model
def test_a_shared_prompt_equals_separate_rows(make: Callable[[], Any]) -> None:
    model, data = make(), pairs()
    shared, separate = (sequence_logprobs(model, collate_pairs(data, shared=shared)) for shared in (True, False))
    for ours, theirs in zip(shared, separate, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    weights = torch.linspace(-1, 1, len(data))
    assert_same(
        *(
            gradients(model, (weights * logprobs.chosen_B - logprobs.rejected_B).sum())
            for logprobs in (shared, separate)
        )
    )
    assert check_shared_prompt(model, data) < 1e-5


def test_log_probabilities_are_those_of_the_tokens_one_by_one() -> None:
    model, pair = llama(), pairs()[0]
    prompt, chosen = list(pair["prompt_ids"]), list(pair["chosen_ids"])  # type: ignore[arg-type]
    with torch.no_grad():
        logprob_TV = model(torch.tensor([prompt + chosen])).logits[0].log_softmax(dim=-1)
        expected = sum(float(logprob_TV[len(prompt) - 1 + i, token]) for i, token in enumerate(chosen))
        logprobs = sequence_logprobs(model, collate_pairs([pair]))
    assert float(logprobs.chosen_B) == pytest.approx(expected, rel=1e-5)
    assert logprobs.num_chosen_B.tolist() == [len(chosen)]


def test_checks_notice_a_model_that_looks_through_a_window() -> None:
    torch.manual_seed(0)
    config = transformers.MistralConfig(**LLAMA, sliding_window=4)
    assert check_shared_prompt(transformers.MistralForCausalLM(config), pairs()) > 1e-3


def test_checks_notice_a_model_that_ignores_positions() -> None:
    torch.manual_seed(0)
    config = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
    assert check_packing(transformers.BloomForCausalLM(config), [rows()]) > 1e-4


def test_references_are_those_of_the_model_whatever_the_batches() -> None:
    model, data = llama().train(), pairs(7)
    lengths = shared_lengths(data)

    def collate_places(places: Any) -> Any:
        return collate_pairs([data[place] for place in places])

    tables = [
        reference_logprobs(model, batches, collate_places, len(data))
        for batches in (sorted_batches(lengths, 3), length_batches(lengths, 1, np.random.default_rng(0)))
    ]
    assert model.training
    np.testing.assert_allclose(tables[0].chosen_R, tables[1].chosen_R, rtol=1e-5)
    with torch.no_grad():
        chosen_B, rejected_B, *_ = sequence_logprobs(model, collate_places([4, 2]))
    reference = tables[0].of(np.array([4, 2]))
    assert torch.allclose(reference.chosen_B, chosen_B, rtol=1e-5)
    assert torch.allclose(reference.rejected_B, rejected_B, rtol=1e-5)


@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "ipo", "robust"])
def test_dpo_learns_to_prefer_the_chosen_answer(loss_type: DPOLoss) -> None:
    model, batch = llama(), collate_pairs(pairs())
    reference_model = copy.deepcopy(model)
    with torch.no_grad():
        chosen_B, rejected_B, *_ = sequence_logprobs(reference_model, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    margins = []
    for _ in range(6):
        loss = dpo_loss(
            sequence_logprobs(model, batch),
            Reference(chosen_B, rejected_B),
            beta=0.1,
            loss_type=loss_type,
            label_smoothing=0.1,
        )
        margin, count = loss.metrics["rewards/margin"]
        margins.append(float(margin) / float(count))
        optimizer.zero_grad()
        (loss.sum / loss.count).backward()
        optimizer.step()
    assert margins[0] == pytest.approx(0, abs=1e-5)
    assert margins[-1] > margins[0] + 0.05
    assert float(loss.metrics["rewards/accuracy"][0]) == loss.count
