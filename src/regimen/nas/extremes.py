"""Which architectures of a space cost least and most."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from regimen.nas.cost import CostTable
from regimen.nas.jointcost import JointCost
from regimen.nas.space import Architecture


def extremes(cost: CostTable | JointCost) -> tuple[Architecture, Architecture]:
    """(one that costs least, one that costs most); of equals the first. Exact.

    >>> extremes(CostTable("params", 0.0, (np.array([3.0, 1.0, 2.0]), np.array([5.0, 9.0]))))
    ((1, 0), (0, 1))
    """
    if isinstance(cost, CostTable):
        layers = cost.layers
        return tuple(int(layer.argmin()) for layer in layers), tuple(int(layer.argmax()) for layer in layers)
    every = np.concatenate([_best(cost, sign) for sign in (1, -1)])
    costs = cost.of(every)
    return tuple(every[int(costs.argmin())].tolist()), tuple(every[int(costs.argmax())].tolist())


def _best(cost: JointCost, sign: int) -> NDArray[np.int64]:
    """For every combination of the choices that several tables share, the best choices of the rest."""
    uses = Counter(position for table in cost.tables for position in table.positions)
    shared = [position for position, number in uses.items() if number > 1]
    found = []
    for combination in itertools.product(*(range(cost.sizes[position]) for position in shared)):
        fixed = dict(zip(shared, combination, strict=True))
        chosen = np.zeros(len(cost.sizes), dtype=np.int64)
        chosen[list(fixed)] = list(fixed.values())
        for positions, costs in cost.tables:
            free = [position for position in positions if position not in fixed]
            part = costs[tuple(fixed.get(position, slice(None)) for position in positions)]
            if free:
                chosen[free] = np.unravel_index(int(np.argmin(sign * part)), part.shape)
        found.append(chosen)
    return np.array(found)
