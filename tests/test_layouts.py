"""Layouts: which columns mean what, and every layout in its canonical form."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimen.errors import DataError
from regimen.finetune.data.canonical import Conversation, Pair, Preference, Text, Unpaired
from regimen.finetune.data.checkrows import check_rows
from regimen.finetune.data.convert import canonical
from regimen.finetune.data.layouts import LAYOUTS, find_layout
from regimen.finetune.data.rows import as_rows, read_rows

USER, REPLY = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
HH = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: joke\n\nAssistant:"
ROWS = {
    "messages": ({"messages": [USER, REPLY]}, Conversation([USER, REPLY])),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}], "system": "be kind"},
        Conversation([{"role": "system", "content": "be kind"}, USER, REPLY]),
    ),
    "prompt_completion": ({"prompt": "a", "completion": "b"}, Pair("a", "b")),
    "prompt_completion of turns": ({"prompt": [USER], "completion": [REPLY]}, Pair([USER], [REPLY])),
    "input_output": ({"input": "hi", "output": "hello"}, Pair([USER], [REPLY])),
    "instruction": ({"instruction": "hi", "output": "hello"}, Pair([USER], [REPLY])),
    "instruction with input": (
        {"instruction": "add", "input": "1", "output": "hello"},
        Pair([{"role": "user", "content": "add\n\n1"}], [REPLY]),
    ),
    "instruction of dolly": ({"instruction": "hi", "context": "", "response": "hello"}, Pair([USER], [REPLY])),
    "text": ({"text": "words"}, Text("words")),
    "preference": ({"prompt": "a", "chosen": "b", "rejected": "c"}, Preference("a", "b", "c")),
    "preference of turns": (
        {"prompt": [USER], "chosen": [REPLY], "rejected": "no"},
        Preference([USER], [REPLY], [{"role": "assistant", "content": "no"}]),
    ),
    "preference of whole chats": (
        {"chosen": [USER, REPLY], "rejected": [USER, {"role": "assistant", "content": "no"}]},
        Preference([USER], [REPLY], [{"role": "assistant", "content": "no"}]),
    ),
    "preference of LLaMA-Factory": (
        {
            "conversations": [{"from": "human", "value": "hi"}],
            "chosen": {"from": "gpt", "value": "hello"},
            "rejected": {"from": "gpt", "value": "no"},
        },
        Preference([USER], [REPLY], [{"role": "assistant", "content": "no"}]),
    ),
    "preference of HH-RLHF": ({"chosen": HH + " one", "rejected": HH + " two"}, Preference(HH, " one", " two")),
    "unpaired_preference": ({"prompt": "a", "completion": "b", "label": True}, Unpaired("a", "b", True)),
    "unpaired_preference of turns": ({"messages": [USER, REPLY], "label": False}, Unpaired([USER], [REPLY], False)),
}


@pytest.mark.parametrize("name", ROWS)
def test_each_layout_is_found_and_brought_to_its_form(name: str) -> None:
    row, expected = ROWS[name]
    rows = as_rows([row])
    layout = find_layout(rows)
    assert layout.name == name.split()[0]
    assert canonical(row, layout) == expected
    assert check_rows(rows, layout).errors.count == 0


def test_every_layout_is_tried_here() -> None:
    assert {name.split()[0] for name in ROWS} == set(LAYOUTS)


def test_a_column_map_names_the_fields() -> None:
    rows = as_rows([{"question": "a", "answer": "b", "id": 1}])
    layout = find_layout(rows, {"prompt": "question", "completion": "answer"})
    assert canonical(rows[0], layout) == Pair("a", "b")
    assert layout.unused == ("id",)


def test_a_column_map_overrides_a_name_that_would_fit() -> None:
    rows = as_rows([{"prompt": "raw", "clean": "a", "completion": "b"}])
    assert canonical(rows[0], find_layout(rows, {"prompt": "clean"})) == Pair("a", "b")


def test_what_the_strategy_accepts_decides_between_layouts() -> None:
    rows = as_rows([{"prompt": "a", "chosen": "b", "rejected": "c", "messages": [USER, REPLY]}])
    with pytest.raises(DataError, match="more than one layout"):
        find_layout(rows)
    assert find_layout(rows, accept=["preference"]).name == "preference"
    with pytest.raises(DataError, match="fit no layout"):
        find_layout(rows, accept=["text"])


def test_all_rows_count_not_only_the_first() -> None:
    rows = as_rows([{"text": "a"}] * 30 + [{"messages": [USER, REPLY]}])
    with pytest.raises(DataError, match="more than one layout"):
        find_layout(rows)


def test_tool_calls_and_tools_are_kept_in_one_form() -> None:
    call = '{"name": "add", "arguments": {"a": 1}}'
    row = {
        "conversations": [
            {"from": "human", "value": "1?"},
            {"from": "function_call", "value": call},
            {"from": "observation", "value": "2"},
            {"from": "gpt", "value": "two"},
        ],
        "tools": '[{"name": "add", "parameters": {}}]',
    }
    made = canonical(row, find_layout(as_rows([row])))
    assert isinstance(made, Conversation)
    assert [message["role"] for message in made.messages] == ["user", "assistant", "tool", "assistant"]
    expected = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    assert made.messages[1]["tool_calls"] == expected
    assert made.tools == [{"type": "function", "function": {"name": "add", "parameters": {}}}]


def test_arguments_written_as_text_become_an_object() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    row = {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": calls}]}
    made = canonical(row, find_layout(as_rows([row])))
    assert isinstance(made, Conversation)
    assert made.messages[1]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert made.messages[1]["content"] == ""


def test_content_in_blocks_is_joined_and_weights_are_kept() -> None:
    blocks = [{"type": "reasoning", "value": "hm"}, {"type": "text", "value": "hel"}, {"type": "text", "text": "lo"}]
    row = {"messages": [USER, {"role": "assistant", "content": blocks, "loss_weight": 0.0}, USER, REPLY]}
    made = canonical(row, find_layout(as_rows([row])))
    assert isinstance(made, Conversation)
    assert made.messages[1] == {"role": "assistant", "content": "hello", "reasoning_content": "hm"}
    assert made.untrained == {1}


def test_orders_of_turns_that_templates_refuse_are_warnings() -> None:
    rows = as_rows([{"messages": [REPLY, USER, USER, {"role": "system", "content": "x"}, REPLY]}])
    report = check_rows(rows, find_layout(rows))
    assert report.errors.count == 0
    assert report.warnings.count == 3


def test_all_wrong_fields_of_a_row_are_named_at_once() -> None:
    layout = find_layout(as_rows([{"prompt": "a", "completion": "b"}]))
    with pytest.raises(DataError) as caught:
        canonical({"prompt": "", "completion": None}, layout, "train.jsonl:3")
    assert [problem.place for problem in caught.value.problems] == ["train.jsonl:3"] * 2


@given(st.text(min_size=1), st.text(min_size=1))
def test_text_fields_are_never_changed(prompt: str, completion: str) -> None:
    if prompt.strip() and completion.strip():
        row = {"prompt": prompt, "completion": completion}
        assert canonical(row, find_layout(as_rows([row]))) == Pair(prompt, completion)


@pytest.mark.parametrize(
    ("file", "layout", "bad"),
    [
        ("dolly/dolly_train.jsonl.gz", "instruction", 0),
        ("llamafactory_demo/alpaca_en_demo.json", "instruction", 0),
        ("llamafactory_demo/dpo_en_demo.json", "preference", 0),
        ("llamafactory_demo/glaive_toolcall_en_demo.json", "sharegpt", 0),
        ("llamafactory_demo/identity.json", "instruction", 0),
        ("llamafactory_demo/kto_en_demo.json", "unpaired_preference", 0),
        ("llamafactory_demo/reason_tool_use_demo_50.jsonl", "messages", 0),
        ("llamafactory_demo/v1_dpo_demo.jsonl", "preference", 0),
        ("llamafactory_demo/v1_sft_demo.jsonl", "messages", 0),
        ("fastchat/dummy_conversation.json", "sharegpt", 0),
        ("tinker_examples/conversations.jsonl", "messages", 0),
        ("hh_rlhf/harmless-base-test.jsonl.gz", "preference", 4),
        ("mmlu_small/mmlu_test_1444.jsonl", "instruction", 0),
        ("t0_multitask", "prompt_completion", 0),
        ("tinyshakespeare/input.txt", "text", 0),
    ],
)
def test_real_files_have_their_layout(data_dir: Path, file: str, layout: str, bad: int) -> None:
    rows = read_rows(data_dir / file)
    found = find_layout(rows)
    assert found.name == layout
    assert len(check_rows(rows, found).bad_rows) == bad
