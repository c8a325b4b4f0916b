"""Prompt and expected answer are read from tokens alone, for every layout; metrics agree with their definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

datasets = pytest.importorskip("datasets")
pytest.importorskip("transformers")

from regimen.finetune.answers.examples import examples, token_rows  # noqa: E402
from regimen.finetune.answers.metrics import exact_match, f1, rouge, scores  # noqa: E402
from regimen.finetune.tiny import tiny_tokenizer  # noqa: E402
from regimen.finetune.tokens.encoder import Encoder  # noqa: E402
from regimen.finetune.tokens.outcome import TokenSettings  # noqa: E402
from regimen.finetune.tokens.prepare import prepare  # noqa: E402

QUESTION, ANSWER = "What is 2 + 2?", "It is four."
CHAT = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
SHAREGPT = [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]
MORE = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}]
LAYOUTS: dict[str, dict[str, Any]] = {
    "messages": {"messages": CHAT},
    "sharegpt": {"conversations": SHAREGPT},
    "prompt and completion": {"prompt": QUESTION, "completion": ANSWER},
    "chat prompt and completion": {"prompt": CHAT[:1], "completion": CHAT[1:]},
    "input and output": {"input": QUESTION, "output": ANSWER},
    "instruction": {"instruction": QUESTION, "output": ANSWER},
    "preference": {"prompt": QUESTION, "chosen": ANSWER, "rejected": "No."},
    "chat preference": {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": [{"role": "assistant", "content": "No."}]},
    "several turns": {"messages": CHAT + MORE},
}


def asked(row: dict[str, Any], **settings: Any) -> tuple[str, str]:
    """Prompt (as text, special tokens seen) and expected answer of a row that was tokenized as for training."""
    tokenizer = tiny_tokenizer()
    rows = token_rows(prepare([row], Encoder(tokenizer, TokenSettings(**settings))).dataset)
    assert rows is not None
    (example,) = examples(rows, tokenizer)
    return str(tokenizer.decode(example.prompt_ids)), example.reference


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_asks_the_question_and_expects_the_answer(layout: str) -> None:
    prompt, reference = asked(LAYOUTS[layout])
    assert reference.strip() == ANSWER
    assert prompt.startswith("<s>")
    assert QUESTION in prompt
    assert "four" not in prompt
    assert "</s>" not in reference


def test_a_chat_asks_what_the_template_asks_when_it_is_asked_for_an_answer() -> None:
    tokenizer = tiny_tokenizer()
    wanted = tokenizer.apply_chat_template(CHAT[:1], add_generation_prompt=True, tokenize=False)
    assert asked(LAYOUTS["messages"])[0] == wanted


def test_a_whole_text_is_begun_and_its_rest_expected() -> None:
    text = "Once upon a time there was a cat who liked milk and warm places."
    prompt, reference = asked({"text": text})
    begun = prompt.removeprefix("<s>")
    assert begun
    assert text.startswith(begun)
    assert begun + reference == text


def test_rows_without_an_answer_are_passed_over() -> None:
    tokenizer = tiny_tokenizer()
    yes, no = (
        tokenizer("yes", add_special_tokens=False)["input_ids"],
        tokenizer("no", add_special_tokens=False)["input_ids"],
    )
    columns = {"prompt_ids": [yes, yes], "completion_ids": [no, yes], "label": [False, True]}
    rows = token_rows(datasets.Dataset.from_dict(columns))
    assert rows is not None
    assert [(example.reference, example.row) for example in examples(rows, tokenizer)] == [("yes", 1)]


def test_padding_that_a_hook_wrote_is_no_part_of_the_answer() -> None:
    columns = {
        "input_ids": [[65, 66, 67, 258, 258]],
        "labels": [[-100, 66, 67, 258, 258]],
        "attention_mask": [[1, 1, 1, 0, 0]],
    }
    rows = token_rows(datasets.Dataset.from_dict(columns))
    assert rows is not None
    (example,) = examples(rows, tiny_tokenizer())
    assert (example.prompt_ids, example.reference) == ([65], "cd")  # bytes in the order of their letters: 66 is c


def test_a_split_without_tokens_has_no_rows_to_ask() -> None:
    assert token_rows(None) is None
    assert token_rows(datasets.Dataset.from_dict({"input": ["a"], "output": ["b"]})) is None
    assert token_rows([datasets.Dataset.from_dict({"input_ids": [[1]], "labels": [[1]]})]) is None


@given(st.text(), st.text())
def test_scores_are_between_zero_and_one_and_one_for_the_same(one: str, other: str) -> None:
    assert 0 <= f1(one, other) <= 1
    assert f1(one, other) == pytest.approx(f1(other, one))
    assert f1(one, one) == exact_match(one, one) == 1
    assert exact_match(one, other) <= 1


def test_f1_is_squads() -> None:
    # precision 2/3, recall 2/4
    assert f1("The cat sat down", "a cat sat on mats") == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert f1("", "word") == 0


def test_exact_match_forgives_white_space_alone() -> None:
    assert exact_match(" It  is\nfour. ", ANSWER) == 1
    assert exact_match("it is four.", ANSWER) == 0
    assert exact_match("It is four", ANSWER) == 0


def test_rouge_counts_words_of_any_alphabet() -> None:
    pytest.importorskip("rouge_score")
    assert rouge("the cat", "the cat sat")["rouge1"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert rouge("кот спит", "кот спит") == {"rouge1": 1.0, "rouge2": 1.0, "rougeL": 1.0}


def test_rouge_is_rouge_scores_for_ascii() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rouge2", "rougeL"])
    pair = "The quick-brown fox; it jumps 12 times", "A quick brown fox jumped over 12 dogs, it is"
    theirs = {name: value.fmeasure for name, value in scorer.score(pair[1], pair[0]).items()}
    assert rouge(*pair) == theirs


def test_scores_are_means_over_the_answers() -> None:
    found = scores(["exact_match", "f1"], ["a b", "c"], ["a  b", "d"])
    assert found == {"exact_match": 0.5, "f1": 0.5}
    assert scores(["f1"], [], []) == {}
    assert not any(math.isnan(value) for value in found.values())
