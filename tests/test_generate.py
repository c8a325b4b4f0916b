"""Answers do not depend on how prompts are batched, nothing around the model changes, and a stream is the same text."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")

from regimen.finetune.answers.generate import Sampling, answers, stop_ids, stream  # noqa: E402
from regimen.finetune.answers.textstream import TextStream  # noqa: E402
from regimen.finetune.tiny import tiny_tokenizer  # noqa: E402

PROMPTS = [list(text.encode()) for text in ("a", "ab cd", "the quick brown fox", "x" * 40, "b")]


def small_model(seed: int = 0, **more: Any) -> Any:
    """Untrained but far from uniform, so that greedy answers differ from prompt to prompt."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.4,
        **({"max_position_embeddings": 128} | more),
    )
    return transformers.LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def greedy_ids(model: Any, prompt: list[int], count: int, stops: list[int]) -> list[int]:
    """No cache, no padding, no `generate`: the definition."""
    model.eval()
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] in stops:
                ids.pop()
                break
    return ids[len(prompt) :]


def greedy_by_hand(model: Any, tokenizer: Any, prompt: list[int], count: int, stops: list[int]) -> str:
    return str(tokenizer.decode(greedy_ids(model, prompt, count, stops), skip_special_tokens=True))


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_batch_answers_as_each_prompt_alone_and_as_the_definition(
    model: Any, tokenizer: Any, batch_size: int
) -> None:
    made = answers(model, tokenizer, PROMPTS, max_new_tokens=12, stop_ids=[257], batch_size=batch_size)
    assert made == [greedy_by_hand(model, tokenizer, prompt, 12, [257]) for prompt in PROMPTS]
    assert len(set(made)) == len(made)


def test_an_answer_ends_at_any_stop_token(model: Any, tokenizer: Any) -> None:
    whole = greedy_ids(model, PROMPTS[2], 12, [257])
    shorter = greedy_ids(model, PROMPTS[2], 12, [257, whole[6]])
    assert len(shorter) < len(whole)
    made = answers(model, tokenizer, PROMPTS[2:3], max_new_tokens=12, stop_ids=[257, whole[6]])
    assert made == [tokenizer.decode(shorter, skip_special_tokens=True)]


def test_a_prompt_near_the_end_of_the_model_cuts_only_its_own_answer(tokenizer: Any) -> None:
    model = small_model(max_position_embeddings=30)
    prompts = [PROMPTS[0], [100] * 27, [101] * 30]
    made = answers(model, tokenizer, prompts, max_new_tokens=12, stop_ids=[])
    assert made[0] == greedy_by_hand(model, tokenizer, prompts[0], 12, [])
    assert made[1] == greedy_by_hand(model, tokenizer, prompts[1], 3, [])
    assert made[2] == ""


def test_nothing_around_the_model_changes(tokenizer: Any) -> None:
    model = small_model()
    model.train()
    model.model.layers[0].eval()
    model.generation_config.repetition_penalty = 1.7
    settings_before, modes = copy.deepcopy(model.generation_config.to_dict()), [m.training for m in model.modules()]
    random_before = torch.get_rng_state()
    answers(model, tokenizer, PROMPTS, max_new_tokens=4, stop_ids=[257], sampling=Sampling(1.0, 3))
    "".join(stream(model, tokenizer, PROMPTS[0], max_new_tokens=4, stop_ids=[257], sampling=Sampling(1.0, 3)))
    assert torch.equal(random_before, torch.get_rng_state())
    assert [m.training for m in model.modules()] == modes
    assert model.generation_config.to_dict() == settings_before


def test_the_models_own_penalties_are_not_used(tokenizer: Any) -> None:
    model = small_model()
    plain = answers(model, tokenizer, PROMPTS, max_new_tokens=12, stop_ids=[257])
    model.generation_config.repetition_penalty = 5.0
    assert answers(model, tokenizer, PROMPTS, max_new_tokens=12, stop_ids=[257]) == plain


def test_sampling_repeats_by_seed_and_differs_between_seeds(model: Any, tokenizer: Any) -> None:
    def draw(seed: int, batch_size: int = 16) -> list[str]:
        how = Sampling(1.5, seed)
        return answers(
            model, tokenizer, PROMPTS, max_new_tokens=12, stop_ids=[257], batch_size=batch_size, sampling=how
        )

    assert draw(0) == draw(0) == draw(0, batch_size=2)
    assert draw(0) != draw(1)


def test_sampling_draws_from_the_softmax(model: Any, tokenizer: Any) -> None:
    prompt, temperature, count = PROMPTS[2], 3.0, 1500
    with torch.no_grad():
        expected = (model(input_ids=torch.tensor([prompt])).logits[0, -1].double() / temperature).softmax(-1)
    # The same prompt many times: each has a generator of its own.
    drawn = answers(
        model,
        tokenizer,
        [prompt] * count,
        max_new_tokens=1,
        stop_ids=[],
        batch_size=500,
        sampling=Sampling(temperature, 1),
    )
    letters = [int(token) for token in expected.argsort(descending=True) if tokenizer.decode([int(token)]).isascii()]
    for token in [token for token in letters if token < 256][:3]:
        share = sum(text == tokenizer.decode([token]) for text in drawn) / count
        assert abs(share - float(expected[token])) < 4 * (float(expected[token]) / count) ** 0.5


def test_adapters_answer_as_merged_weights_do(tokenizer: Any) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    tuned = peft.get_peft_model(small_model(), peft.LoraConfig(r=4, task_type="CAUSAL_LM", init_lora_weights=False))
    made = answers(tuned, tokenizer, PROMPTS, max_new_tokens=10, stop_ids=[257])
    assert made != answers(small_model(), tokenizer, PROMPTS, max_new_tokens=10, stop_ids=[257])
    assert made == answers(tuned.merge_and_unload(), tokenizer, PROMPTS, max_new_tokens=10, stop_ids=[257])


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, 7)])
def test_a_stream_is_the_answer_in_pieces(model: Any, tokenizer: Any, sampling: Sampling) -> None:
    for prompt in PROMPTS:
        pieces = list(stream(model, tokenizer, prompt, max_new_tokens=20, stop_ids=[257], sampling=sampling))
        whole = answers(model, tokenizer, [prompt], max_new_tokens=20, stop_ids=[257], sampling=sampling)
        assert ["".join(pieces)] == whole
        assert all(pieces)


def test_a_stream_that_is_left_ends_the_generation(model: Any, tokenizer: Any) -> None:
    pieces = stream(model, tokenizer, PROMPTS[0], max_new_tokens=100, stop_ids=[])
    model.train()
    next(pieces)
    pieces.close()
    assert model.training  # the thread has ended and put the mode back
    model.eval()


def test_a_stream_raises_what_the_model_raises(tokenizer: Any) -> None:
    model = small_model()
    with pytest.raises(IndexError):
        list(stream(model, tokenizer, [5000], max_new_tokens=3, stop_ids=[]))


def test_stop_ids_hold_the_end_token_the_templates_and_the_models_own(tokenizer: Any) -> None:
    model = small_model()
    model.generation_config.eos_token_id = [257, 33]
    assert stop_ids(tokenizer) == [257]
    assert stop_ids(tokenizer, model) == [33, 257]
    chatml = tiny_tokenizer()
    chatml.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    from regimen.finetune.tokens.template import Template

    Template.from_tokenizer(chatml, "chatml")
    assert stop_ids(chatml) == sorted([257, chatml.convert_tokens_to_ids("<|im_end|>")])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.lists(st.integers(0, 255), max_size=6))
def test_a_text_stream_gives_all_text_and_no_half_letter(text: str, rubbish: list[int]) -> None:
    def decode(ids: Any) -> str:
        return bytes(ids).decode("utf-8", errors="replace")

    tokens = [*text.encode("utf-8", errors="replace"), *rubbish]
    letters = TextStream(decode)
    pieces = [letters.add([token]) for token in tokens]
    assert "".join([*pieces, letters.rest()]) == decode(tokens)
    if not rubbish and "\ufffd" not in text:
        assert all("\ufffd" not in piece for piece in pieces)
