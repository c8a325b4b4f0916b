"""How this process is set while it trains: threads, deterministic kernels, tiny numbers; and back as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from regimen.allocator import keep_freed_memory
from regimen.spec import RunSettings


@contextmanager
def machine_set(settings: RunSettings, device: torch.device) -> Iterator[None]:
    """What a run's settings ask of PyTorch, for as long as it trains: whoever called it keeps their own."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS refuses to be deterministic
        torch.use_deterministic_algorithms(True)
    if device.type == "cpu":
        keep_freed_memory()
        # Saturated losses leave gradients so small that a CPU is ten times slower on them.
        torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
