"""A language model, rows of text, and how its answers are judged: what every fine-tuning task has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import datasets
import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedTokenizerBase

from regimen.finetune.data.checkrows import RowReport, check_rows
from regimen.finetune.data.layouts import Layout, find_layout
from regimen.finetune.data.originals import to_dataset
from regimen.finetune.data.rows import Rows
from regimen.finetune.models import ModelSource, Quantization
from regimen.finetune.tokens.template import Template
from regimen.task import Task

Metric = Literal["exact_match", "f1", "rouge"]


class LanguageTask(Task):
    """The base of fine-tuning tasks: a subclass says in `read` where the rows are.

    `rows[split]` and `layout` are there after `prepare`; `tokenizer` and `model_config` when they are first asked for;
    weights only from `load_model`.
    """

    model: Annotated[str, Field(description="a folder, `org/name` of the Hub, or tiny")] = "tiny"
    revision: Annotated[str | None, Field(description="of the model on the Hub: a branch, a tag or a commit")] = None
    template: Annotated[
        str | None,
        Field(description="chat template for a tokenizer without one: plain, chatml or a .jinja file; saved with it"),
    ] = None
    trust_remote_code: Annotated[bool, Field(description="run Python code that comes with a model of the Hub")] = False
    metrics: Annotated[
        list[Metric], Field(description="on answers generated for the valid (and test) rows, besides the loss")
    ] = []
    max_new_tokens: Annotated[int, Field(ge=1, description="of a generated answer")] = 64
    samples: Annotated[int, Field(ge=0, description="answers shown in the report, before and after training")] = 4

    def read(self) -> Mapping[str, Rows]:
        """The rows of each split: `train`, and where there are any `valid` and `test`."""
        raise TypeError(f"{type(self).__name__} has no read()")

    @property
    def columns(self) -> Mapping[str, str]:
        """{field of a layout: the user's column}, where the names differ."""
        return {}

    def why_not_here(self) -> str | None:
        """The reason why this machine cannot load the model as asked; None if it can."""
        return None

    def prepare(self) -> None:
        self.source = ModelSource(self.model, revision=self.revision, remote_code=self.trust_remote_code)
        self.rows = dict(self.read())

    def layout(self, accept: tuple[str, ...]) -> Layout:
        """How the rows are laid out, among those a strategy accepts. Raises `DataError` if none or several fit."""
        return find_layout(self.rows["train"], self.columns or None, accept or None)

    def check(self, split: str, layout: Layout) -> RowReport:
        return check_rows(self.rows[split], layout)

    def dataset(self, split: str) -> datasets.Dataset:
        """The checked rows with the columns they came with (renamed by the column map), for hooks that users write."""
        made = to_dataset(self.rows[split], self.cache)
        return made.rename_columns(
            {theirs: ours for ours, theirs in self.columns.items() if theirs in made.column_names and ours != theirs}
        )

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """With the chosen chat template on it, so that it is saved with the model."""
        tokenizer = self.source.tokenizer()
        if self.template is not None:
            Template.from_tokenizer(tokenizer, self.template)
        return tokenizer

    @cached_property
    def model_config(self) -> Any:
        return self.source.config()

    def load_model(
        self, device: torch.device, *, quantize: Quantization | None = None, dtype: torch.dtype = torch.float32
    ) -> nn.Module:
        return self.source.load(device, quantize=quantize, dtype=dtype)

    def fingerprint(self) -> str:
        parts = [self.source.fingerprint(), {split: rows.fingerprint for split, rows in self.rows.items()}]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        return {"model": self.model, "rows": {split: len(rows) for split, rows in self.rows.items()}}
