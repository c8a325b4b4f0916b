"""What a training step of a test problem does besides computing a loss, seen on a copy of its net."""

from __future__ import annotations

import copy
import random
from typing import NamedTuple

import numpy as np
import torch

from regimen.benchmark.testproblem import TestProblem


class Probed(NamedTuple):
    """Seen in one forward pass in training mode."""

    draws: bool
    """Whether it drew random numbers: dropout, sampling."""
    changed_buffers: frozenset[str]
    """Running statistics and the like."""
    kept_bytes: int
    """Kept for the backward pass, each tensor once."""


def probed(testproblem: TestProblem) -> Probed:
    """Sees the first batch pass through a copy of the net. Leaves generators and net as they were."""
    net = copy.deepcopy(testproblem.net).train()
    batch = next(testproblem.batches.epoch(0))
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    devices = [testproblem.device] if testproblem.device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        states = _states(testproblem.device)
        testproblem.training_loss(net, batch)
        draws = states != _states(testproblem.device)
    random.setstate(python)
    np.random.set_state(numpy)
    after = dict(net.named_buffers())
    changed = [name for name, buffer in after.items() if name not in before or not before[name].equal(buffer)]
    return Probed(draws, frozenset(changed), sum(kept.values()))


def _states(device: torch.device) -> list[object]:
    """Of every global generator."""
    on_gpu = torch.cuda.get_rng_state(device).tolist() if device.type == "cuda" else []
    return [torch.random.get_rng_state().tolist(), on_gpu, random.getstate(), repr(np.random.get_state(legacy=False))]
