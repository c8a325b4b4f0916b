"""What training leaves for use elsewhere: an adapter or a full model, as transformers and PEFT read it.

    artifacts/adapter/   adapters on a base that stays as it was
    artifacts/model/     a model whose own weights were trained
    artifacts/base/      the base of adapters where nobody else has it: `tiny`, which is made here

Each holds safetensors, the tokenizer with its chat template, and generation settings with every token that ends an
answer. A folder is written beside and renamed, so that it is there whole or not at all.
"""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import GenerationConfig, PreTrainedTokenizerBase

from regimen.finetune.answers.generate import stop_ids
from regimen.finetune.losses.head import unwrapped
from regimen.finetune.texttask import LanguageTask
from regimen.finetune.tiny import TINY
from regimen.records.writer import disk_full_named

Kind = Literal["adapter", "model"]
BASE = "base"


def kind_of(model: nn.Module) -> Kind:
    """Whether adapters were trained on the model, or the model itself."""
    return "adapter" if hasattr(unwrapped(model), "peft_config") else "model"


def save(model: nn.Module, tokenizer: PreTrainedTokenizerBase, task: LanguageTask, artifacts: Path) -> Path:
    """Writes the trained model into `artifacts` and returns its folder. Raises `DiskFull`."""
    kind = kind_of(model)
    inner: Any = unwrapped(model)
    with written(artifacts / kind) as folder:
        if kind == "adapter":
            _name_base(inner, task)
            # Saying it outright keeps PEFT from asking the Hub whether the vocabulary has grown.
            resized = inner.config.vocab_size != task.model_config.vocab_size
            inner.save_pretrained(folder, save_embedding_layers=resized)
            _sort_names(folder / "adapter_config.json")
            if task.model == TINY:
                _save_base(task, artifacts / BASE)
        else:
            save_model(inner, folder)
        save_companions(inner, tokenizer, folder)
    return artifacts / kind


def save_model(model: Any, folder: Path) -> None:
    """The weights and configuration of a transformers model, generation settings made valid."""
    model.generation_config = valid_generation_config(model.generation_config)
    model.save_pretrained(folder)


def save_companions(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The tokenizer with its template, and generation settings that stop where a trained answer stops."""
    tokenizer.save_pretrained(folder)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    settings = valid_generation_config(base.generation_config)
    settings.eos_token_id = stop_ids(tokenizer, model)
    settings.bos_token_id, settings.pad_token_id = tokenizer.bos_token_id, tokenizer.pad_token_id
    settings.save_pretrained(folder)


def valid_generation_config(settings: GenerationConfig) -> GenerationConfig:
    """A copy that transformers agrees to save: published ones set a temperature without sampling, which it refuses."""
    settings = copy.deepcopy(settings)
    try:
        settings.validate(strict=True)
    except ValueError:
        settings.do_sample = True
    return settings


@contextmanager
def written(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` once all of it is there. Raises `DiskFull`."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with disk_full_named(folder):
            beside.mkdir(parents=True)
            try:
                yield beside
            except SafetensorError as error:
                raise OSError(errno.EIO, str(error)) from error
            for path in beside.rglob("*"):  # safetensors makes files that only their owner may read
                path.chmod(beside.stat().st_mode & (0o777 if path.is_dir() else 0o666))
            shutil.rmtree(folder, ignore_errors=True)
            beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _name_base(model: Any, task: LanguageTask) -> None:
    """Writes into the adapter's configuration on which base, and which version of it, it belongs."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = f"../{BASE}" if task.model == TINY else task.model
        if not task.source.is_folder:
            config.revision = getattr(task.model_config, "_commit_hash", None) or task.revision


def _sort_names(path: Path) -> None:
    """PEFT writes sets of names in the order of their hashes, which differs from process to process."""
    config = json.loads(path.read_bytes())
    for name in ("target_modules", "exclude_modules", "modules_to_save"):
        if isinstance(config.get(name), list):
            config[name] = sorted(config[name])
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def _save_base(task: LanguageTask, folder: Path) -> None:
    # Adapters are woven into the model in memory, so the base is made again as it was.
    with written(folder) as beside:
        base: Any = task.load_model(torch.device("cpu"))
        base.save_pretrained(beside)
        task.tokenizer.save_pretrained(beside)
