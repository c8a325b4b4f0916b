"""Questions whose answers can be checked exactly, made here: for demos and tests, and to see whether training works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from regimen.errors import Problem, SpecError
from regimen.finetune.data.rows import Rows, as_rows
from regimen.finetune.texttask import LanguageTask, Metric
from regimen.randomness import derived_generator


class Sorting(LanguageTask):
    """Sort a few digits: `Sort 7 2 5.` is answered by `2 5 7`; the rejected answer is sorted the other way."""

    name = "sorting"

    train_rows: Annotated[int, Field(ge=2, description="rows to train on")] = 4000
    valid_rows: Annotated[int, Field(ge=1, description="held-out rows; no question of theirs is in train")] = 200
    digits: Annotated[int, Field(ge=2, le=9, description="how many digits a question has")] = 5
    descending: Annotated[
        float, Field(ge=0, le=1, description="part of the train answers that are sorted downwards, as people disagree")
    ] = 0.0
    data_seed: Annotated[int, Field(ge=0, description="of the rows; the run's seed has no part in it")] = 0
    metrics: Annotated[list[Metric], Field(description="on generated answers")] = ["exact_match"]
    max_new_tokens: Annotated[int, Field(ge=1, description="of a generated answer")] = 24

    def read(self) -> Mapping[str, Rows]:
        wanted = self.train_rows + self.valid_rows
        there = 10**self.digits - 10
        if wanted > there:
            text = f"asks for {wanted:,} different questions; with {self.digits} digits there are {there:,}."
            raise SpecError(Problem("task.train_rows", text, "Ask for fewer rows, or raise task.digits."))
        generator = derived_generator(self.data_seed, "sorting", self.digits)
        questions: dict[tuple[int, ...], None] = {}
        while len(questions) < wanted:
            question = tuple(int(digit) for digit in generator.integers(0, 10, self.digits))
            if len(set(question)) > 1:  # else both orders are one
                questions.setdefault(question)
        rows = [self._row(question) for question in questions]
        train, valid = rows[: self.train_rows], rows[self.train_rows :]
        for row in train:
            if generator.random() < self.descending:
                row["completion"] = row["rejected"]
        return {"train": as_rows(train, "sorting train"), "valid": as_rows(valid, "sorting valid")}

    def _row(self, question: tuple[int, ...]) -> dict[str, str]:
        upwards = sorted(question)
        said = {"prompt": question, "completion": upwards, "chosen": upwards, "rejected": upwards[::-1]}
        texts = {name: " ".join(map(str, digits)) for name, digits in said.items()}
        return texts | {"prompt": f"Sort {texts['prompt']}."}
