"""Tokens and masks: what is trained, where an answer ends, and what becomes of rows that are too long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from regimen.errors import Refused, SpecError  # noqa: E402
from regimen.finetune.data.canonical import Canonical, Conversation, Pair, Preference, Text, Unpaired  # noqa: E402
from regimen.finetune.tokens.encoder import Encoder, tokenize_row  # noqa: E402
from regimen.finetune.tokens.outcome import (  # noqa: E402
    ANSWER_CUT,
    FOREIGN_END,
    IGNORED,
    NOTHING_TRAINED,
    TOO_LONG,
    TRUNCATED,
    Dropped,
    Kept,
    TokenSettings,
    Unusable,
)
from regimen.finetune.tokens.template import CHATML, PLAIN, Template  # noqa: E402
from tiny_tokenizers import REPLY, TOKENIZERS, USER, byte_level, encoder, kept, metaspace, trained_text  # noqa: E402

NO_MARKS = CHATML.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


# -- what is trained ------------------------------------------------------------------------------------------------
def test_chat_trains_the_answers_and_their_ends(tokenizer: Any) -> None:
    tokens = kept(encoder(tokenizer).encode([Conversation([USER, REPLY, USER, REPLY])])[0])
    assert trained_text(tokenizer, tokens) == "Well, thank you.</s>Well, thank you.</s>"
    assert tokens["labels"][-1] == tokenizer.eos_token_id


def test_loss_on_completion_is_the_last_answer_and_on_all_is_everything(tokenizer: Any) -> None:
    chat = Conversation([USER, REPLY, USER, {"role": "assistant", "content": "four"}])
    last = kept(encoder(tokenizer, loss_on="completion").encode([chat])[0])
    assert trained_text(tokenizer, last) == "four</s>"
    everything = kept(encoder(tokenizer, loss_on="all").encode([chat])[0])
    assert everything["labels"] == everything["input_ids"] == last["input_ids"]


def test_turns_with_weight_zero_are_not_trained(tokenizer: Any) -> None:
    chat = Conversation([USER, REPLY, USER, {"role": "assistant", "content": "four"}], untrained=frozenset({1}))
    assert trained_text(tokenizer, kept(encoder(tokenizer).encode([chat])[0])) == "four</s>"


def test_completion_and_text_end_with_a_trained_end_token(tokenizer: Any) -> None:
    pair, ended, text = encoder(tokenizer, None).encode(
        [Pair("2 + 2 =", " four"), Pair("2", " four</s>"), Text("hello")]
    )
    for tokens in (kept(pair), kept(ended), kept(text)):
        assert tokens["labels"][-1] == tokens["input_ids"][-1] == tokenizer.eos_token_id
        assert tokens["input_ids"].count(tokenizer.eos_token_id) == 1
    assert trained_text(tokenizer, kept(pair)) == "four</s>"


@pytest.mark.parametrize("row", [Pair("<s>a", "b"), Text("<s>a"), Pair("a", "b"), Conversation([USER, REPLY])])
@pytest.mark.parametrize("make", [lambda: byte_level(bos=True), metaspace])
def test_there_is_exactly_one_beginning_token(make: Any, row: Canonical) -> None:
    tokenizer = make()
    ids = kept(encoder(tokenizer).encode([row])[0])["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_without_marks_prefixes_give_the_same_mask(tokenizer: Any, tmp_path: Path) -> None:
    chats = [Conversation([USER, REPLY]), Conversation([USER, REPLY, USER, REPLY], untrained=frozenset({1}))]
    marked = encoder(tokenizer, "chatml").encode(chats)
    path = tmp_path / "chat.jinja"
    path.write_text(tokenizer.chat_template.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", ""))
    unmarked = encoder(tokenizer, str(path))
    assert unmarked.encode(chats) == marked
    assert tokenizer.convert_ids_to_tokens(unmarked.stop_id) == "<|im_end|>"


def test_a_missing_beginning_token_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text(CHATML)
    assert "no beginning token" in encoder(metaspace(), str(path)).notes()[0]
    assert encoder(metaspace(), "chatml").notes() == []
    assert encoder(byte_level(), str(path)).notes() == []


@pytest.mark.parametrize("name", ["llama3", "qwen2_5", "qwen3", "gemma3", "phi3", "cohere", "lfm2", "gptoss"])
def test_templates_in_use_train_every_answer_and_its_end(name: str) -> None:
    trl = pytest.importorskip("trl")
    path = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
    tokenizer = byte_level()
    special = re.findall(r"<\|[\w]+\|>|<\w+_of_turn>", path.read_text())
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(special))})
    chat = Conversation(
        [USER, {"role": "assistant", "content": "first"}, USER, {"role": "assistant", "content": "second"}]
    )
    encode = encoder(tokenizer, str(path))
    tokens = kept(encode.encode([chat])[0])
    text = trained_text(tokenizer, tokens)
    first, second = text.split("first")[1].split("second")
    assert USER["content"] not in text
    assert first.startswith(tuple(special)), "the first answer's end is not trained"
    assert second.startswith(tuple(special)), "the last answer's end is not trained"
    assert encode.stop_id in tokens["labels"]


def test_a_template_that_is_no_prefix_of_itself_is_refused_by_row(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text("{{ messages | length if messages | length > 3 else '' }}" + NO_MARKS)
    outcome = encoder(tokenizer, str(path)).encode([Conversation([USER, REPLY, USER, REPLY])])[0]
    assert isinstance(outcome, Unusable)
    assert "turn 1" in outcome.message
    assert "{% generation %}" in outcome.fix


def test_a_template_without_an_end_token_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    for text in (PLAIN.replace("{{ eos_token }}", ""), NO_MARKS.replace("<|im_end|>", "")):
        path.write_text(text)
        with pytest.raises(Refused, match="never learn to stop"):
            encoder(tokenizer, str(path))
    outside = CHATML.replace("~ '<|im_end|>' }}{%- endgeneration -%}", "}}{%- endgeneration -%}{{ '<|im_end|>' }}")
    path.write_text(outside)
    with pytest.raises(Refused, match="never learn to stop"):
        encoder(tokenizer, str(path))


def test_a_chat_without_a_template_is_refused_with_the_way_out(tokenizer: Any) -> None:
    with pytest.raises(Refused, match=r"task.template: plain"):
        encoder(tokenizer, None).encode([Conversation([USER, REPLY])])


def test_the_template_is_set_on_the_tokenizer_and_saved(tokenizer: Any, tmp_path: Path) -> None:
    chosen = Template.from_tokenizer(tokenizer, "plain")
    tokenizer.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert Template.from_tokenizer(again).hash == chosen.hash


@pytest.mark.parametrize("text", ["{{ ''.__class__.__mro__ }}", "{% for %}", "{{ messages[0].x.y }}", "{{ 1 / 0 }}"])
def test_hostile_or_broken_templates_are_refused(tokenizer: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text(text)
    with pytest.raises(Refused, match=r"task.template"):
        Template.from_tokenizer(tokenizer, str(path))


def test_a_template_that_does_not_exist_is_named(tokenizer: Any) -> None:
    with pytest.raises(SpecError, match="Did you mean 'plain'"):
        Template.from_tokenizer(tokenizer, "plian")


def test_chatml_needs_its_tokens() -> None:
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "</s>": 1, "[UNK]": 2}, unk_token="[UNK]"))
    plain = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    with pytest.raises(Refused, match=r"<\|im_start\|> and <\|im_end\|>"):
        Template.from_tokenizer(plain, "chatml")
    nothing = transformers.PreTrainedTokenizerFast(tokenizer_object=core)
    with pytest.raises(Refused, match="no end token"):
        Encoder(nothing, TokenSettings())


def test_what_a_template_refuses_names_its_words(tokenizer: Any) -> None:
    outcome = encoder(tokenizer, "chatml").encode([Conversation([USER, REPLY], tools=[{"name": "x"}])])[0]
    assert isinstance(outcome, Unusable)
    assert "no place for tools" in outcome.message


def test_another_tokenizers_end_is_noted(tokenizer: Any) -> None:
    outcome = encoder(tokenizer, None).encode([Pair("a", "b<|endoftext|>")])[0]
    assert isinstance(outcome, Kept)
    assert FOREIGN_END in outcome.notes


# -- lengths --------------------------------------------------------------------------------------------------------
def test_overlong_rows_are_dropped_truncated_or_refused(tokenizer: Any) -> None:
    pair = Pair("How are you? " * 3, "Well, thank you. " * 20)
    whole = kept(tokenize_row(pair, tokenizer))
    length = len(whole["input_ids"])
    cut = tokenize_row(pair, tokenizer, max_length=length - 5)
    assert isinstance(cut, Kept)
    assert cut.notes[-1] == TRUNCATED
    assert cut.tokens == {key: value[: length - 5] for key, value in whole.items()}
    for overlength in ("drop", "refuse"):
        assert tokenize_row(pair, tokenizer, max_length=length - 1, overlength=overlength) == Dropped(TOO_LONG, length)
    assert tokenize_row(pair, tokenizer, max_length=5) == Dropped(ANSWER_CUT, length)
    assert isinstance(tokenize_row(pair, tokenizer, max_length=length, overlength="refuse"), Kept)


def test_preference_rows_are_cut_at_the_end_of_the_answers(tokenizer: Any) -> None:
    row = Preference("How are you?", " Well " * 9, " Bad " * 30)
    whole = kept(tokenize_row(row, tokenizer))
    limit = len(whole["prompt_ids"]) + 4
    cut = kept(tokenize_row(row, tokenizer, max_length=limit))
    assert cut["prompt_ids"] == whole["prompt_ids"]
    assert cut["chosen_ids"] == whole["chosen_ids"][:4]
    dropped = tokenize_row(row, tokenizer, max_length=len(whole["prompt_ids"]))
    assert isinstance(dropped, Dropped)
    assert dropped.reason == ANSWER_CUT


def test_a_row_without_a_trained_token_is_dropped_with_its_reason(tokenizer: Any) -> None:
    chat = Conversation([USER, REPLY], untrained=frozenset({1}))
    outcome = encoder(tokenizer).encode([chat])[0]
    assert isinstance(outcome, Dropped)
    assert outcome.reason == NOTHING_TRAINED


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="<>|"), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=TEXTS, answer=TEXTS)
def test_labels_are_ids_or_ignored_and_batches_equal_single_rows(tokenizer: Any, prompt: str, answer: str) -> None:
    encode = encoder(tokenizer)
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    rows: list[Canonical] = [
        Pair(prompt, answer), Conversation(turns), Text(prompt), Pair(turns[:1], turns[1:]),
        Preference(prompt, answer, answer + "!"), Unpaired(turns[:1], turns[1:], True),
    ]  # fmt: skip
    outcomes = encode.encode(rows)
    assert outcomes == [encode.encode([row])[0] for row in rows]
    for outcome in outcomes:
        tokens = outcome.tokens if isinstance(outcome, Kept) else {}
        if "labels" in tokens:
            pairs = list(zip(tokens["input_ids"], tokens["labels"], strict=True))
            assert all(label in (id_, IGNORED) for id_, label in pairs)
            assert tokens["labels"][-1] == tokenizer.eos_token_id
