"""Settings that cannot work, or would do nothing, on this model, task or strategy: refused before anything is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from regimen.cli import main

RUN = "task: {name: sorting, train_rows: 16, valid_rows: 4, metrics: []}\nstrategy: {name: NAME, tuning: TUNING}\n"
CASES = [
    (
        "sft",
        "lora",
        "strategy.tuning.target_modules=[nothing]",
        3,
        "has no such layer. It has, among others: down_proj",
    ),
    ("sft", "lora", "strategy.tuning.target_modules=[q_proj]", 0, "ready"),
    ("dpo", "full", "strategy.packing=true", 3, "strategy.packing: is true, and dpo makes batches of its own."),
    ("dpo", "full", "strategy.loss_on=all", 3, "strategy.loss_on: is all, and a preference"),
    ("sft", "full", "output=/proc/nowhere", 2, "output: is '/proc/nowhere', and nothing can be written in /proc"),
]


@pytest.mark.parametrize(("name", "tuning", "setting", "code", "said"), CASES, ids=[case[2] for case in CASES])
def test_it_is_said_before(
    name: str, tuning: str, setting: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.yaml").write_text(RUN.replace("NAME", name).replace("TUNING", tuning))
    assert main(["check", "run.yaml", "--set", setting]) == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err


def test_metrics_without_rows_to_ask_about(capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.jsonl").write_text("".join(f'{{"prompt": "a {n}", "completion": "b {n}"}}\n' for n in range(9)))
    Path("run.yaml").write_text(
        "task: {name: text, metrics: [f1], data: {train: rows.jsonl, eval_split: 0}}\nstrategy: sft\n"
    )
    assert main(["check", "run.yaml"]) == 3
    assert "task.metrics: asks for f1" in capsys.readouterr().out
