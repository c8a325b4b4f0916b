"""Seeds that depend only on the run's seed and on what they are for, so that nothing has to be remembered to draw
again.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derived_seed(seed: int, *parts: str | int) -> int:
    """A seed in [0, 2**63) for one purpose: `derived_seed(seed, "order", epoch)`. Different parts give unrelated seeds.

    >>> derived_seed(0, "order", 1) == derived_seed(0, "order", 1) != derived_seed(0, "order", 2)
    True
    """
    text = "\x1f".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derived_generator(seed: int, *parts: str | int) -> np.random.Generator:
    """A NumPy generator for one purpose, seeded as `derived_seed` says."""
    return np.random.Generator(np.random.PCG64(derived_seed(seed, *parts)))
