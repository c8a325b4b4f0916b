"""A supernet for a moment in a state that adds choices, for the gradients of their weights; nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from regimen.errors import Problem, Refused
from regimen.nas.cost import Cost, CostTable
from regimen.nas.supernet import ForwardState, Supernet


@contextmanager
def mixing(supernet: Supernet, state: ForwardState, weights: Sequence[Tensor] | None = None) -> Iterator[None]:
    """Has it compute in `state`, with `weights` (K_l,) for layer l in place of its parameters if they are given.

    Batch norms use the statistics of the batch and leave their running ones alone. All is as it was afterwards.
    """
    before = supernet.state, supernet.tau, supernet.arch_params
    norms = [
        (each, each.training, each.track_running_stats) for each in supernet.modules() if isinstance(each, _BatchNorm)
    ]
    supernet.set_forward_state(state, supernet.tau)
    if weights is not None:
        supernet.set_arch_param(list(weights))
    try:
        for norm, _, _ in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        supernet.state, supernet.tau, supernet.arch_params = before
        for norm, training, tracked in norms:
            norm.training, norm.track_running_stats = training, tracked


def additive_cost(cost: Cost, place: str) -> CostTable:
    """The cost as a table by layer. Raises `Refused` for one that is no such sum: it has no gradient."""
    if not isinstance(cost, CostTable):
        text = f"is {cost.unit}, which is no sum over layers here, and gradients need one."
        raise Refused(Problem(place, text, "Choose another unit, or a searcher that only evaluates."))
    return cost
