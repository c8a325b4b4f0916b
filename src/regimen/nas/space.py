"""A search space: layers, the choices of each, and architectures as tuples of choices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from regimen.errors import Problem, SpecError

Architecture = tuple[int, ...]
"""One choice a layer."""


def _itself(architecture: Architecture) -> Architecture:
    return architecture


@dataclass(frozen=True)
class Space:
    """All architectures with `0 <= architecture[l] < sizes[l]`. Layers may have different numbers of choices.

    `canonical` gives architectures that are one network one form (two skips whose order does not matter): each network
    is evaluated once.
    """

    name: str
    sizes: tuple[int, ...]
    choices: tuple[tuple[str, ...], ...] = ()
    """What each choice is, by layer; for people."""
    canonical: Callable[[Architecture], Architecture] = field(default=_itself, compare=False)

    def __post_init__(self) -> None:
        assert self.sizes, "a space has layers"
        assert min(self.sizes) > 0, "a layer has choices"

    @property
    def num_architectures(self) -> int:
        """Before architectures that are one network are counted once."""
        return math.prod(self.sizes)

    def check(self, architecture: Sequence[int], place: str = "architecture") -> Architecture:
        """The architecture as a tuple. Raises `SpecError` that names the layer and its choices."""
        found = tuple(int(choice) for choice in architecture)
        if len(found) != len(self.sizes):
            text = f"has {len(found)} layers; the space {self.name} has {len(self.sizes)}."
            raise SpecError(Problem(place, text, "Give one choice a layer."))
        for layer, (choice, size) in enumerate(zip(found, self.sizes, strict=True)):
            if not 0 <= choice < size:
                text = f"chooses {choice} in layer {layer}, which has the choices 0 to {size - 1}."
                raise SpecError(Problem(place, text, "Give one of them."))
        return found

    def random(self, generator: np.random.Generator) -> Architecture:
        """Each choice of each layer with the same probability."""
        return tuple(int(generator.integers(size)) for size in self.sizes)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Those that differ in one layer, in order."""
        for layer, size in enumerate(self.sizes):
            for choice in range(size):
                if choice != architecture[layer]:
                    yield (*architecture[:layer], choice, *architecture[layer + 1 :])

    def everything(self) -> Iterator[Architecture]:
        """Every architecture, the last layer changing fastest."""
        return itertools.product(*(range(size) for size in self.sizes))
