"""Which rank each adapter of a fine-tune needs: fine-tuning and architecture search meet here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from torch import Tensor, nn

from regimen.choices import PluginOf
from regimen.errors import DataError, Problem, SpecError
from regimen.finetune.data.layouts import Layout
from regimen.finetune.preparing import longest
from regimen.finetune.strategy import TrainingStrategy
from regimen.finetune.texttask import LanguageTask
from regimen.finetune.tokens.encoder import Encoder
from regimen.finetune.tokens.outcome import IGNORED, LossOn, TokenSettings
from regimen.finetune.tokens.prepare import prepare
from regimen.finetune.tokens.template import Template
from regimen.finetune.tokens.tokenrows import TokenRows
from regimen.nas.images import Pictures, PictureSplits
from regimen.nas.languagespace import LanguageSpace
from regimen.nas.searchspace import Inputs
from regimen.nas.space import Architecture
from regimen.nas.supernettask import SupernetSettings, SupernetTask
from regimen.spec import Choice


class TextTask(PluginOf):
    """A task of fine-tuning. Its schema says no more than that: that of all tasks would hold itself."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}


class LoraRanks(SupernetTask):
    """A language model with its rows, whose adapters' ranks are searched: `text: {name: text, model: ..., data: ...}`.

    A row's loss is the mean over its trained tokens; it is as right as the part of them that the largest logit gets
    right. Architectures are compared on the valid rows. Where the text task has no test rows, every second valid row
    is kept for the end.
    """

    name = "lora_ranks"
    num_epochs = 3

    text: Annotated[Choice, TextTask("task"), Field(description="the fine-tuning task: model and rows")] = Choice(
        name="sorting"
    )
    supernet: Annotated[SupernetSettings, Field(description="what is searched: the space elastic_lora")] = (
        SupernetSettings(space=Choice(name="elastic_lora"))
    )
    loss_on: Annotated[LossOn, Field(description="trained tokens: the assistant's, the completion, or all")] = (
        "assistant"
    )
    max_length: Annotated[
        int | None, Field(ge=8, description="tokens of a row, longer ones are cut; unset: what the model can take")
    ] = None

    @cached_property
    def language(self) -> LanguageTask:
        """The fine-tuning task, prepared. Raises `SpecError` for a task without a language model."""
        chosen = TextTask("task").check(self.text)
        made = type(chosen).plugin.make(chosen)
        if not isinstance(made, LanguageTask):
            text = f"is {chosen.name!r}, which has no language model."
            raise SpecError(Problem("task.text.name", text, "Name a task of fine-tuning, such as text."))
        made.cache = self.cache
        made.prepare()
        return made

    @cached_property
    def space(self) -> LanguageSpace:
        chosen = PluginOf("space").check(self.supernet.space)
        made = type(chosen).plugin.make(chosen)
        if not isinstance(made, LanguageSpace):
            text = f"is {chosen.name!r}, which is no space of a language model."
            raise SpecError(Problem("task.supernet.space.name", text, "Use elastic_lora."))
        made.attach(self._outline, lambda: self.language.load_model(torch.device("cpu")))
        return made

    def read(self) -> PictureSplits:
        """Token ids (N, T) with the targets of each place (N, T), padded on the right."""
        layout = self.language.layout(TrainingStrategy.layouts)
        found = {split: self._tokens(split, layout) for split in self.language.rows}
        if "valid" not in found:
            text = "has no valid rows, on which architectures are compared."
            raise DataError(Problem("task.text", text, "Give some, or leave eval_split above 0."))
        valid = found["valid"]
        if "test" in found:
            return PictureSplits(found["train"], valid, found["test"])
        halves = (Pictures(*(part[start::2] for part in valid)) for start in (0, 1))
        return PictureSplits(found["train"], *halves)

    def inputs(self, num_outputs: int | None = None) -> Inputs:
        """One row of T tokens; outputs are one number a word of the vocabulary."""
        return Inputs(1, 1, self.splits.train.inputs.shape[1], num_outputs or self.num_classes)

    @property
    def num_classes(self) -> int:
        return int(self.language.model_config.vocab_size)

    def fingerprint(self) -> str:
        return hashlib.sha256((super().fingerprint() + self.language.fingerprint()).encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"model": self.language.model}

    def export(self, network: nn.Module, architecture: Architecture, folder: Path) -> None:
        """Writes the adapter of an architecture for PEFT, beside it the tokenizer."""
        self.space.export(network, architecture, folder, self.language.model)
        self.language.tokenizer.save_pretrained(str(folder))

    def _outline(self) -> nn.Module:
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            made: nn.Module = AutoModelForCausalLM.from_config(self.language.model_config)
        return made

    def _tokens(self, split: str, layout: Layout) -> Pictures:
        """The rows of a split, padded to one length; a place's target is the token after it."""
        tokenizer = self.language.tokenizer
        template = Template.from_tokenizer(tokenizer) if tokenizer.chat_template else None
        most = longest(tokenizer, self.language.model_config)
        settings = TokenSettings(min(self.max_length or most, most), self.loss_on)
        made = prepare(self.language.rows[split], Encoder(tokenizer, settings, template), layout=layout)
        rows = TokenRows(made.dataset)
        length = int(rows.lengths("input_ids").max())
        padding = tokenizer.pad_token_id
        ids = _padded([row["input_ids"] for row in rows], length, 0 if padding is None else int(padding))
        labels = _padded([row["labels"] for row in rows], length + 1, IGNORED)
        return Pictures(ids, labels[:, 1:].contiguous())


def _padded(rows: Sequence[NDArray[np.int32]], length: int, filler: int) -> Tensor:
    filled = np.full((len(rows), length), filler, dtype=np.int64)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return torch.from_numpy(filled)
