"""A language model and the user's own files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from regimen.finetune.data.rows import Rows, read_rows
from regimen.finetune.data.split import split_rows
from regimen.finetune.models import Quantization
from regimen.finetune.texttask import LanguageTask
from regimen.spec import Frozen


class DataFiles(Frozen):
    """Where the rows are. A file (.jsonl .json .csv .tsv .parquet .txt, each also .gz), a folder, or
    `org/name[@revision]`.
    """

    train: Annotated[str, Field(description="rows to train on")]
    valid: Annotated[str | None, Field(description="rows to choose by; unset: split from train")] = None
    test: Annotated[str | None, Field(description="rows that are looked at once, at the end")] = None
    eval_split: Annotated[
        float, Field(ge=0, lt=1, description="part of train that becomes valid when none is given")
    ] = 0.1
    split_seed: Annotated[
        int, Field(ge=0, description="of that split; the run's seed has no part in it, so seeds share it")
    ] = 0
    columns: Annotated[
        dict[str, str], Field(description="{our field: your column}, such as {prompt: question, completion: answer}")
    ] = {}
    max_rows: Annotated[int | None, Field(ge=2, description="only the first so many rows of each file")] = None


class Text(LanguageTask):
    """A language model and rows of text from files: chats, prompts with answers, preferences, or plain text."""

    name = "text"

    data: Annotated[DataFiles, Field(description="where the rows are")]
    purpose: Annotated[
        Literal["text-generation", "summarization", "extractive-question-answering"],
        Field(description="what the answers are for; chooses the usual metrics where `metrics` is empty"),
    ] = "text-generation"
    provider: Annotated[Literal["huggingface", "unsloth"], Field(description="what loads the model")] = "huggingface"

    def why_not_here(self) -> str | None:
        if self.provider == "unsloth" and not (find_spec("unsloth") and torch.cuda.is_available()):
            lacks = "unsloth is not installed" if not find_spec("unsloth") else "there is no GPU"
            return f"is unsloth, which accelerates models on a GPU; here {lacks}."
        return None

    def load_model(
        self, device: torch.device, *, quantize: Quantization | None = None, dtype: torch.dtype = torch.float32
    ) -> nn.Module:
        if self.provider == "huggingface":
            return super().load_model(device, quantize=quantize, dtype=dtype)
        from unsloth import FastLanguageModel

        bits = quantize.bits if quantize else 0
        model: nn.Module
        model, _ = FastLanguageModel.from_pretrained(
            self.model, dtype=dtype, load_in_4bit=bits == 4, load_in_8bit=bits == 8, trust_remote_code=False
        )
        return model

    @property
    def columns(self) -> Mapping[str, str]:
        return self.data.columns

    def read(self) -> Mapping[str, Rows]:
        splits = {
            split: self._file(source) for split in ("train", "valid", "test") if (source := getattr(self.data, split))
        }
        if "valid" not in splits and self.data.eval_split:
            train = splits["train"]
            indices = split_rows(len(train), self.data.eval_split, self.data.split_seed)
            splits = {
                "train": train.select(indices.train),
                "valid": train.select(indices.valid),
                **{k: v for k, v in splits.items() if k == "test"},
            }
        return splits

    def _file(self, source: str) -> Rows:
        name, _, revision = source.partition("@")
        rows = read_rows(name, revision=revision or None)
        return rows.select(range(self.data.max_rows)) if self.data.max_rows and self.data.max_rows < len(rows) else rows
