"""A trained model is asked as it was trained: in turns of a chat, or in bare text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regimen.execute import run
from regimen.finetune.answers.asking import Asking
from regimen.finetune.results.asked import FILE, is_asked_as_chat
from regimen.finetune.results.merge import export, merge

TURNS = {"messages": [{"role": "user", "content": "Even or odd: 7"}, {"role": "assistant", "content": "odd"}]}
PROMPT = {"prompt": "Even or odd: 7", "completion": "odd"}
TEXT = {"text": "Seven is odd."}


@pytest.mark.parametrize(("row", "chat"), [(TURNS, True), (PROMPT, False), (TEXT, False)])
def test_a_question_is_put_as_the_rows_were(tmp_path: Path, row: dict[str, Any], chat: bool) -> None:
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 4)
    record = run(
        {
            "task": {"name": "text", "model": "tiny", "data": {"train": str(tmp_path / "rows.jsonl")}, "samples": 0},
            "strategy": {"name": "sft", "tuning": {"name": "lora", "r": 2}, "batch_size": 4},
            "budget": {"steps": 1},
            "output": str(tmp_path / "runs"),
            "threads": 1,
        }
    )
    asking = Asking(record.folder)
    assert asking.trained.tokenizer.chat_template  # brought along in any case
    assert asking.chat is chat
    bare = asking.trained.tokenizer("Even or odd: 7").input_ids
    assert (asking.prompt("Even or odd: 7") == bare) is not chat
    assert Asking(record.folder, chat=not chat).chat is not chat
    for folder in (export(record.folder, tmp_path / "copy"), merge(record.folder, tmp_path / "merged").folder):
        assert is_asked_as_chat(folder) is chat
        (folder / FILE).unlink()
        assert is_asked_as_chat(folder)  # of an earlier version: by its template
