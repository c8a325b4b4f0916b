"""Whether model, method and machine fit together: sizes of quantized layers, precision, memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from regimen.errors import Problem
from regimen.finetune.memory import estimate_memory
from regimen.spec import RunSettings
from regimen.strategy import Change, Finding

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy

_BLOCK = 32
"""bitsandbytes' 4-bit kernel for CPUs multiplies blocks of so many outputs."""
_WORTH_A_LOOK = 0.05
"""Part of the free memory that weights and optimizer must reach before all of it is estimated, which takes seconds."""


def misfits(strategy: TrainingStrategy, model_config: Any, settings: RunSettings) -> Iterator[Finding]:
    """What can be known without the data."""
    on_gpu = settings.device.startswith("cuda") or (settings.device == "auto" and torch.cuda.is_available())
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        problem = Problem("device", f"is {settings.device}, and there is no GPU here.", "Set device: cpu.")
        yield Finding("error", problem, (Change("device", "cpu"),))
    if settings.precision == "fp16" and not on_gpu:
        problem = Problem("precision", "is fp16, which only a GPU computes in.", "Set bf16 or fp32.")
        yield Finding("error", problem, (Change("precision", "fp32"),))
    if not strategy.quantize:
        return
    if strategy.tuning.name == "full":
        text = f"is {strategy.quantize.bits} bits with tuning full; a quantized base cannot be trained itself."
        problem = Problem("strategy.quantize", text, "Choose tuning: lora, or remove quantize.")
        yield Finding("error", problem, (Change("strategy.tuning", {"name": "lora"}),))
    if strategy.quantize.bits == 4 and not on_gpu:
        odd = {name: layer.out_features for name, layer in _layers(model_config) if layer.out_features % _BLOCK}
        if odd:
            name, size = next(iter(odd.items()))
            text = f"is 4 bits; on a CPU that needs layers of a multiple of {_BLOCK} outputs, and {name} has {size}."
            problem = Problem("strategy.quantize", text, "Choose bits: 8, or remove quantize.")
            yield Finding("error", problem, (Change("strategy.quantize", None),))


def too_large(
    strategy: TrainingStrategy, model_config: Any, settings: RunSettings, longest: int, trained: float
) -> Iterator[Finding]:
    """The memory that the run will need, where it is not small against what is free. `longest` is tokens of a row."""
    free = free_memory(settings.device)
    parameters = sum(parameter.numel() for parameter in _without_weights(model_config).parameters())
    if parameters * 4 * (4 if strategy.tuning.name == "full" else 1) < _WORTH_A_LOOK * free:
        return
    device = "cuda" if torch.cuda.is_available() and settings.device != "cpu" else "cpu"
    precision = "bf16" if settings.precision == "auto" and device == "cuda" else settings.precision
    need = estimate_memory(
        strategy, model_config, longest, trained=trained, device=device, precision=precision.replace("auto", "fp32")
    )
    said = f"about {need.total / 1e9:.1f} GB of memory are needed, {free / 1e9:.1f} GB are free"
    parts = f"weights {need.weights / 1e9:.1f}, optimizer and gradients {(need.optimizer + need.gradients) / 1e9:.1f}, "
    text = f"{said} ({parts}activations {need.activations / 1e9:.1f})."
    fix = "Lower batch_size and raise accumulate, shorten rows, set gradient_checkpointing, or tune fewer parameters."
    level: Literal["error", "warning", "info"] = "info"
    if need.total > 0.9 * free:
        level = "error" if need.total > 1.5 * free else "warning"
    smaller: tuple[Change, ...] = ()
    if level != "info" and strategy.batch_size > 1 and strategy.batch_size % 2 == 0:  # the same rows a step
        halved = Change("strategy.batch_size", strategy.batch_size // 2)
        smaller = (halved, Change("strategy.accumulate", strategy.accumulate * 2))
    yield Finding(level, Problem("memory", text, "" if level == "info" else fix), smaller)


def free_memory(device: str) -> int:
    """Bytes free on the GPU that a run would take, or on the host."""
    if torch.cuda.is_available() and device != "cpu":
        return int(torch.cuda.mem_get_info()[0])
    try:
        with Path("/proc/meminfo").open() as lines:
            found = next(line for line in lines if line.startswith("MemAvailable"))
        return int(found.split()[1]) * 1024
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _without_weights(model_config: Any) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(model_config)
    return model


def _layers(model_config: Any) -> Iterator[tuple[str, nn.Linear]]:
    """Linear layers that are quantized: all but the output head."""
    model: Any = _without_weights(model_config)
    head = model.get_output_embeddings()
    return (
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and layer is not head
    )
