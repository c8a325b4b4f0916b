"""The same few questions answered before and after training, for people to look at.

`artifacts/samples.json` is a list of {"prompt", "expected", "before", "after", "place"}: "place" names the row's file
and line, and "after" is there once training has ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedTokenizerBase

from regimen.finetune.answers.examples import Example, examples, token_rows
from regimen.finetune.answers.generate import answers, stop_ids
from regimen.finetune.session import Session
from regimen.records.writer import replace_file

FILE = "samples.json"
Sample = dict[str, str]


class Samples:
    """A few rows, spread evenly over the valid ones (over those of train if there are none), the same in every run."""

    def __init__(self, session: Session, splits: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
        self.session, self.tokenizer = session, tokenizer
        self.path = session.run.artifacts / FILE
        self.asked: list[Example] = []
        self.shown: list[Sample] = []
        split = "valid" if token_rows(splits.get("valid")) else "train"
        rows = token_rows(splits.get(split))
        if session.task is None or not session.processes.first or not session.task.samples:
            return
        if rows is None:
            session.run.note(
                "no sample answers: the strategy's rows hold no tokens to ask with (input_ids and labels)."
            )
            return
        places = np.unique(np.linspace(0, len(rows) - 1, min(session.task.samples, len(rows))).astype(int))
        self.asked = list(examples(rows, tokenizer, places.tolist()))
        self.shown = [self._empty(example, str(session.task.rows[split].place(example.row))) for example in self.asked]

    def ask_before(self, model: nn.Module) -> None:
        """Answers of the model that has not been trained; those that an interrupted run has written stay."""
        written = self._written()
        if written is not None and [_question(sample) for sample in written] == [
            _question(sample) for sample in self.shown
        ]:
            self.shown = [sample | {"before": old["before"]} for sample, old in zip(self.shown, written, strict=True)]
            return
        self._ask(model, "before")

    def ask_after(self, model: nn.Module) -> None:
        """Answers of the model that training has left."""
        self._ask(model, "after")

    def _empty(self, example: Example, place: str) -> Sample:
        prompt = str(self.tokenizer.decode(example.prompt_ids, skip_special_tokens=True))
        return {"prompt": prompt, "expected": example.reference, "place": place}

    def _ask(self, model: nn.Module, when: str) -> None:
        if not self.asked:
            return
        task = self.session.task
        assert task is not None
        with self.session.autocast():
            texts = answers(
                model,
                self.tokenizer,
                [example.prompt_ids for example in self.asked],
                max_new_tokens=task.max_new_tokens,
                stop_ids=stop_ids(self.tokenizer, model),
            )
        self.shown = [sample | {when: text} for sample, text in zip(self.shown, texts, strict=True)]
        replace_file(self.path, json.dumps(self.shown, indent=1, ensure_ascii=False).encode())

    def _written(self) -> list[Sample] | None:
        try:
            written: list[Sample] = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        return written if all("before" in sample for sample in written) else None


def _question(sample: Sample) -> tuple[str, str, str]:
    return sample["prompt"], sample["expected"], sample["place"]
