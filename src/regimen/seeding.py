"""Seeds the global generators that a step, an evaluation or a net's first weights draw from."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_globals(seed: int, device: torch.device) -> None:
    """Torch's on the CPU and on `device`, NumPy's and Python's.

    `torch.manual_seed` would do for torch, and takes half a millisecond and some memory each time: before a GPU is in
    use it keeps every call, with its traceback, for later.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
