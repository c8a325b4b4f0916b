"""Loads models from their files and keeps those that were asked for last, as far as memory goes."""

from __future__ import annotations

import gc
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase

from regimen.errors import OutOfMemory, Problem, RecordError, Refused, RegimenError
from regimen.finetune.answers.generate import stop_ids
from regimen.finetune.fitting import free_memory
from regimen.finetune.losses.head import unwrapped
from regimen.finetune.models import ModelSource, Quantization
from regimen.finetune.quiet import quiet_libraries
from regimen.finetune.results.proof import ready
from regimen.finetune.results.trained import base_source, with_adapter
from regimen.records.reader import load
from regimen.web.modelserver.asked import Source

MOST_MODELS = 4
"""Kept at once; fewer where memory is short."""
# What loading somebody's files can raise.
_LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, SafetensorError)
_MARGIN = 1.15
"""Memory for a model against that of its weights."""


@dataclass(frozen=True)
class Held:
    """A model in evaluation mode with neutral generation settings, and what is needed to have it answer."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    stop_ids: frozenset[int]
    longest: int | None
    """Tokens of prompt and answer that it can take; None if it does not say."""
    vocabulary: int
    dtype: str
    stamp: str
    """Of the files that it was loaded from."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def name(self, token: int) -> str:
        """The text of one token, of special ones too; with U+FFFD where it is no whole letter."""
        return str(self.tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))


class Shelf:
    """The models that are loaded."""

    def __init__(self) -> None:
        self._held: OrderedDict[Source, Held] = OrderedDict()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def get(self, source: Source) -> Held:
        """A model, loaded unless it is there as its files are now.

        Raises `RecordError` if the files are gone, `Refused` for a part that cannot be had, `OutOfMemory`.
        """
        stamp = _stamp(Path(source.folder))
        held = self._held.pop(source, None)
        if held is None or held.stamp != stamp:
            del held
            held = self._loaded(source, stamp)
        self._held[source] = held
        return held

    def drop(self, folder: str | None = None) -> None:
        """Lets go of the models of a folder (of all)."""
        for source in [source for source in self._held if folder in (None, source.folder)]:
            del self._held[source]
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _loaded(self, source: Source, stamp: str) -> Held:
        try:
            with quiet_libraries():
                base = _base(source)
                self._make_room(source, base)
                tokenizer = AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
                model = _model(source, base, self._device)
        except _LOADING_ERRORS as error:
            if isinstance(error, RegimenError | torch.OutOfMemoryError):
                raise
            first = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
            text = f"cannot be loaded: {first}"
            raise Refused(
                Problem(source.folder, text, "Its files may be damaged, or need code of their own.")
            ) from error
        inner: Any = unwrapped(model)
        inner = inner.get_base_model() if hasattr(inner, "get_base_model") else inner
        stops = frozenset(stop_ids(tokenizer, model))
        inner.generation_config = GenerationConfig()  # all models are compared by one rule
        return Held(
            model.eval(),
            tokenizer,
            stops,
            _longest(inner.config, model),
            inner.get_input_embeddings().num_embeddings,
            str(next(model.parameters()).dtype).removeprefix("torch."),
            stamp,
        )

    def _make_room(self, source: Source, base: ModelSource | None) -> None:
        """Lets go of other models until this one fits."""
        need = _weights(source, base, self._device) * _MARGIN
        while len(self._held) >= MOST_MODELS or (self._held and need > free_memory(self._device.type)):
            self.drop(next(iter(self._held)).folder)
        if need > (free := free_memory(self._device.type)):
            text = f"needs about {need / 1e9:.1f} GB of memory on {self._device.type}; {free / 1e9:.1f} GB are free."
            raise OutOfMemory(Problem(source.folder, text, "Wait for running runs to end, or ask it quantized."))


def _model(source: Source, base: ModelSource | None, device: torch.device) -> nn.Module:
    folder, dtype, quantize = Path(source.folder), _dtype(device), _quantization(source)
    is_adapter = (folder / "adapter_config.json").is_file()
    if source.part == "tuned" and not is_adapter:
        whole: nn.Module = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
        ).to(device)
        return whole
    if base is None:
        fix = "Ask the run that it came from."
        raise Refused(Problem(str(folder), "is a whole model; what it was trained from is not in it.", fix))
    model = ready(base.load(device, dtype=dtype, quantize=quantize), quantize)
    return with_adapter(model, folder) if source.part == "tuned" else model


def _longest(config: Any, model: Any) -> int | None:
    """Tokens that the model takes, less those that prefix or prompt tuning puts before every prompt."""
    found = getattr(config, "max_position_embeddings", None)
    adapters = getattr(unwrapped(model), "peft_config", {}).values()
    taken = sum(getattr(adapter, "num_virtual_tokens", None) or 0 for adapter in adapters)
    return None if found is None else int(found) - taken


def _base(source: Source) -> ModelSource | None:
    """What the run's settings, else the adapter's, say it was trained from; code of a model is never run."""
    if source.run:
        named = base_source(load(source.run))
        return ModelSource(named.name, revision=named.revision)
    try:
        body = json.loads((Path(source.folder) / "adapter_config.json").read_bytes())
    except FileNotFoundError:
        return None
    name = str(body.get("base_model_name_or_path") or "")
    beside = Path(source.folder) / name
    if name.startswith(".") and not beside.is_dir():
        fix = "Serve the run itself, or export it merged."
        raise Refused(Problem(source.folder, f"is an adapter on {name}, which is not there.", fix))
    return ModelSource(str(beside.resolve()) if beside.is_dir() else name, revision=body.get("revision"))


def _quantization(source: Source) -> Quantization | None:
    if not source.quantized:
        return None
    asked = load(source.run).settings["strategy"].get("quantize") if source.run else None
    if not asked:
        raise Refused(Problem(source.folder, "was not trained on a quantized base.", "Ask it without quantized."))
    return Quantization(**asked)


def _dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _weights(source: Source, base: ModelSource | None, device: torch.device) -> float:
    """Bytes of the weights, from the model's configuration alone."""
    config = base.config() if base is not None else AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(config)
    bits = _bits(_quantization(source), _dtype(device))
    return sum(parameter.numel() for parameter in model.parameters()) * bits / 8


def _bits(quantize: Quantization | None, dtype: torch.dtype) -> int:
    return quantize.bits if quantize else 8 * dtype.itemsize


def _stamp(folder: Path) -> str:
    try:
        stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except FileNotFoundError:
        raise RecordError(Problem(str(folder), "is not there any more.", "See which models there are.")) from None
    return " ".join(f"{name}:{stat.st_size}@{stat.st_mtime_ns}" for name, stat in stats)
