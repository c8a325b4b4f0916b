"""What a run has left, loaded again: base, adapter or full model, and the tokenizer, from the files alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from regimen.errors import Problem, RecordError
from regimen.finetune.answers.generate import stop_ids
from regimen.finetune.models import ModelSource
from regimen.finetune.results.export import BASE
from regimen.finetune.tiny import TINY
from regimen.records.reader import Record, load


@dataclass(frozen=True)
class Trained:
    """A model in evaluation mode with what is needed to have it answer."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    """Where it was loaded from: the run's `artifacts/adapter` or `artifacts/model`."""

    @property
    def stop_ids(self) -> list[int]:
        return stop_ids(self.tokenizer, self.model)


def trained_folder(run_folder: str | Path) -> Path:
    """`artifacts/model` or `artifacts/adapter` of a run. Raises `RecordError` if it left neither."""
    record = load(run_folder)
    for name in ("model", "adapter"):
        if (record.folder / "artifacts" / name).is_dir():
            return record.folder / "artifacts" / name
    fix = "Only a run that has completed leaves one." if record.status != "completed" else "Its strategy leaves none."
    raise RecordError(Problem(str(run_folder), f"has left no model (status {record.status}).", fix))


def load_trained(
    run_folder: str | Path, device: torch.device | str = "cpu", *, dtype: torch.dtype = torch.float32
) -> Trained:
    """The trained model of a run, in `dtype`; its base in full precision also where it was quantized in training."""
    folder, device = trained_folder(run_folder), torch.device(device)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if folder.name == "adapter":
        model = with_adapter(load_base(run_folder, device, dtype=dtype), folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True).to(device)
    return Trained(model.eval(), tokenizer, folder)


def load_base(
    run_folder: str | Path, device: torch.device | str = "cpu", *, dtype: torch.dtype = torch.float32
) -> nn.Module:
    """The model that a run started from, in full precision."""
    return base_source(load(run_folder)).load(torch.device(device), dtype=dtype).eval()


def with_adapter(base: nn.Module, folder: Path) -> nn.Module:
    """A base with the adapter of a folder on it."""
    from peft import PeftModel

    tuned: nn.Module = PeftModel.from_pretrained(base, str(folder))
    return tuned.eval()


def base_source(record: Record) -> ModelSource:
    """Where the base of a run is: what its settings name, seen from the folder where it was started."""
    task: dict[str, Any] = record.settings["task"]
    name, remote_code = str(task["model"]), bool(task.get("trust_remote_code"))
    if name == TINY and (record.folder / "artifacts" / BASE).is_dir():
        return ModelSource(str(record.folder / "artifacts" / BASE))
    beside = Path(os.path.normpath(Path(str(record.spec.get("folder", "."))) / Path(name).expanduser()))
    return ModelSource(str(beside) if beside.is_dir() else name, revision=task.get("revision"), remote_code=remote_code)
