"""How much memory a run will take, told from the model's configuration alone: no weight is made, nothing is downloaded.

The longest batch goes forward and backward through a model of tensors that have a shape and no content, and every
tensor that PyTorch makes and frees is counted. So it knows attention kernels, adapters, gradient checkpointing and the
output head of any architecture, without a formula for one of them. It takes seconds, for a model of any size.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from regimen.finetune.batches.collate import collate
from regimen.finetune.batches.pairs import collate_pairs
from regimen.finetune.losses.preference import sequence_logprobs
from regimen.finetune.losses.supervised import sft_loss
from regimen.finetune.models import Quantization
from regimen.optim import OptimizerSettings
from regimen.trainer import DTYPES

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy

RUNTIME = {"cpu": 500_000_000, "cuda": 500_000_000}
"""Bytes taken before there is a model: Python with torch, transformers, PEFT, datasets (measured); a CUDA context."""

_FRAGMENTED = {"cpu": 1.6, "cuda": 1.1}
"""Bytes an allocator holds for each byte of activations: glibc's heap falls to pieces (1.3 to 2.7 were measured)."""

_STATES = {
    "adamw": 8.0,
    "adam": 8.0,
    "sgd": 0.0,
    "rmsprop": 4.0,
    "adagrad": 4.0,
    "lion": 4.0,
    "adafactor": 0.1,
    "muon": 4.0,
}
"""Bytes of optimizer state a trained parameter; an unknown optimizer counts as Adam."""


class Memory(NamedTuple):
    """Bytes at the fullest moment of a run, on the device it trains on."""

    runtime: int
    weights: int
    optimizer: int
    gradients: int
    activations: int
    """What one micro-batch adds: of training, of an evaluation; or the reload that proves the saved model."""
    parameters: int
    """Numbers, not bytes: all parameters."""
    trained: int
    """Numbers, not bytes: the parameters that move."""

    @property
    def total(self) -> int:
        return self.runtime + self.weights + self.optimizer + self.gradients + self.activations

    def to_json(self) -> dict[str, int]:
        return {**self._asdict(), "total": self.total}


def estimate_memory(
    strategy: TrainingStrategy,
    model_config: Any,
    longest: int,
    *,
    trained: float = 1.0,
    device: str = "cpu",
    precision: str = "fp32",
) -> Memory:
    """The memory of a run with micro-batches of rows of `longest` tokens (of a pair: prompt and both answers).

    `trained` is the share of tokens that are trained, 0 to 1: the output head runs on those alone. What a strategy
    keeps besides the model (a reference, a teacher) is not counted.
    """
    model = _without_content(strategy, model_config)
    pairs, rows = "preference" in strategy.layouts, strategy.batch_size
    with FakeTensorMode(allow_non_fake_inputs=True), _Counting() as count:
        _fill(model)
        made = count.now
        loss = _pair_loss if pairs else _text_loss
        training = _peak(count, lambda: loss(model, rows, longest, trained, precision).backward())
        gradients = count.now - made
        model.eval()
        with torch.no_grad():
            evaluation = _peak(
                count, lambda: loss(model, strategy.eval_batch_size or 2 * rows, longest, trained, precision)
            )
    kind = "cuda" if device.startswith("cuda") else "cpu"
    moving = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    weights = made - _saved_by_quantization(model, strategy.quantize)
    # Gradients of earlier micro-batches lie there while the next ones are made.
    training += gradients if strategy.accumulate > 1 else 0
    return Memory(
        runtime=RUNTIME[kind],
        weights=weights,
        optimizer=int(moving * _state_bytes(strategy.optimizer)),
        gradients=gradients,
        activations=int(_FRAGMENTED[kind] * (max(training, evaluation + gradients, weights) - gradients)),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trained=moving,
    )


def _without_content(strategy: TrainingStrategy, model_config: Any) -> nn.Module:
    """The tuned model on the meta device."""
    tuning: Any = copy.copy(strategy.tuning_method())
    if getattr(tuning, "init", "default") in ("pissa", "olora"):
        tuning.init = "default"  # these decompose the weights, which are not there; sizes are the same
    with torch.device("meta"):
        model: nn.Module = tuning.apply(AutoModelForCausalLM.from_config(model_config))
    if strategy.gradient_checkpointing:
        inner: Any = model
        inner.enable_input_require_grads()
        inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def _fill(model: nn.Module) -> None:
    """Puts CPU tensors in the place of those of the meta device, which takes other kernels; shared ones stay so."""
    made: dict[int, torch.Tensor] = {}

    def filled(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype)
            made[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
        return made[id(tensor)]

    held: list[dict[str, Any]] = [
        tensors for module in model.modules() for tensors in (module._parameters, module._buffers)
    ]
    for tensors in held:
        tensors.update({name: filled(tensor) for name, tensor in tensors.items() if tensor is not None})


def _text_loss(model: nn.Module, rows: int, longest: int, trained: float, precision: str) -> torch.Tensor:
    labels = [1 if place < trained * longest else -100 for place in range(longest)]
    batch = collate([{"input_ids": [1] * longest, "labels": labels, "row": 0}] * rows)
    with _autocast(precision):
        return sft_loss(model, batch).sum


def _pair_loss(model: nn.Module, rows: int, longest: int, trained: float, precision: str) -> torch.Tensor:
    answer = max(1, int(trained * longest / 2))
    row: Mapping[str, Any] = {
        "prompt_ids": [1] * max(1, longest - 2 * answer),
        "chosen_ids": [1] * answer,
        "rejected_ids": [1] * answer,
        "row": 0,
    }
    with _autocast(precision):
        logprobs = sequence_logprobs(model, collate_pairs([row] * rows))
        return (logprobs.chosen_B - logprobs.rejected_B).sum()


def _autocast(precision: str) -> Any:
    return torch.autocast("cpu", DTYPES[precision]) if precision in DTYPES else nullcontext()


def _peak(count: _Counting, work: Callable[[], Any]) -> int:
    """The most bytes that were there at once while working, above those at the start."""
    before = count.peak = count.now
    work()
    return count.peak - before


class _Counting(TorchDispatchMode):
    """Adds up the storages that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._seen: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage() not in self._seen:
                self._add(leaf.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._seen[storage] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.now -= size


def _saved_by_quantization(model: Any, quantize: Quantization | None) -> int:
    """Bytes that the frozen linear layers take less than in fp32; the output head is not quantized."""
    if quantize is None:
        return 0
    # A scale for each 64 weights: 8 bits and a little if quantized twice, else 32 (arXiv:2305.14314); with 8 bits, one
    # for each row.
    bits = 8.0 if quantize.bits == 8 else 4.0 + (0.127 if quantize.double else 0.5)
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    frozen = [m for m in model.modules() if type(m) is nn.Linear and m is not head and not m.weight.requires_grad]
    return int(sum(int(np.prod(layer.weight.shape)) for layer in frozen) * (4 - bits / 8))


def _state_bytes(optimizer: OptimizerSettings) -> float:
    name = optimizer.name.lower()
    if name == "sgd" and optimizer.hyperparameters.get("momentum"):
        return 4.0
    return 2.0 if "8bit" in name else _STATES.get(name.rpartition(":")[2], 8.0)
