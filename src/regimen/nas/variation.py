"""How architectures are made from others: changing choices, and crossing two."""

from __future__ import annotations

import numpy as np

from regimen.nas.space import Architecture, Space


def changed_once(space: Space, architecture: Architecture, generator: np.random.Generator) -> Architecture:
    """One layer that has a choice gets another one than it has; the same where no layer has any."""
    layers = [layer for layer, size in enumerate(space.sizes) if size > 1]
    if not layers:
        return architecture
    layer = layers[int(generator.integers(len(layers)))]
    shift = int(generator.integers(1, space.sizes[layer]))
    choice = (architecture[layer] + shift) % space.sizes[layer]
    return (*architecture[:layer], choice, *architecture[layer + 1 :])


def mutated(space: Space, architecture: Architecture, rate: float, generator: np.random.Generator) -> Architecture:
    """Each layer with probability `rate` gets any of its choices, perhaps the same."""
    drawn = generator.random(len(architecture)) < rate
    others = generator.integers(0, space.sizes)
    return tuple(np.where(drawn, others, architecture).tolist())


def crossed_once(first: Architecture, second: Architecture, generator: np.random.Generator) -> Architecture:
    """The front of one and the back of the other, cut at a random layer; each has one layer at least."""
    if len(first) < 2:
        return first
    cut = int(generator.integers(1, len(first)))
    return (*first[:cut], *second[cut:])


def mixed(first: Architecture, second: Architecture, generator: np.random.Generator) -> Architecture:
    """Each layer from one or the other, evenly."""
    return tuple(np.where(generator.random(len(first)) < 0.5, first, second).tolist())
