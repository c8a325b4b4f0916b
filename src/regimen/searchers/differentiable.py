"""Differentiable search of first order (DARTS, Liu et al., arXiv:1806.09055), as OSNASLib has it.

While the supernet trains, architecture parameters follow the gradient of the loss on rows for searching; the answer is
the likeliest architecture. Otherwise than in OSNASLib: the expected cost is that of the softmax probabilities (there,
of the raw parameters), the answer keeps the limits, and parameters and optimizer are part of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from regimen.nas.cost import Unit
from regimen.nas.costing import expected_cost
from regimen.nas.likeliest import likeliest
from regimen.nas.mixing import additive_cost, mixing
from regimen.nas.searcher import Searcher
from regimen.nas.space import Architecture
from regimen.nas.supernet import Supernet


class DifferentiableSearcher(Searcher):
    """Learns how likely each choice is from the supernet's gradients, and takes the likeliest that keeps the limits."""

    name = "differentiable"
    needs_supernet: ClassVar[bool] = True

    queries: Annotated[int, Field(ge=1, description="how many of the likeliest are evaluated")] = 1
    lr: Annotated[float, Field(gt=0, description="learning rate of the architecture parameters (Adam)")] = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1, description="Adam's first decay")] = 0.5
    weight_decay: Annotated[float, Field(ge=0, description="L2 penalty of the architecture parameters")] = 1e-3
    target: Annotated[float | None, Field(gt=0, description="expected cost to train towards; unset: any")] = None
    objective: Annotated[Unit, Field(description="unit of the target: mmac, params or ms")] = "mmac"
    target_weight: Annotated[
        float, Field(ge=0, description="of the squared distance to the target, in parts of the range of costs")
    ] = 1.0

    def attach(self, supernet: Supernet) -> None:
        """Gives the supernet parameters near 0, if it has none. Raises `Refused` for a target without a cost table."""
        super().attach(supernet)
        self._table = None
        if self.target is not None:
            place = "strategy.search.objective"
            self._table = additive_cost(self.problem.cost(self.objective, place), place)
        device = next(supernet.parameters()).device
        if not supernet.arch_params:
            near_0 = [1e-3 * self.generator.standard_normal((1, size)) for size in supernet.space.sizes]
            supernet.set_arch_param([torch.tensor(row, dtype=torch.float32, device=device) for row in near_0])
        self._rows = [row.requires_grad_() for row in supernet.arch_params]
        self._adam = torch.optim.Adam(self._rows, self.lr, (self.beta1, 0.999), weight_decay=self.weight_decay)

    def observe(self, loss: Callable[[], Tensor]) -> None:
        state = self.supernet.state if self.supernet.state.startswith("gumbel") else "softmax"
        with mixing(self.supernet, state):
            total = loss()
        if self._table is not None and self.target is not None:
            low, high = self._table.reach()
            cost = expected_cost(self._table, [row.reshape(-1).softmax(dim=0) for row in self._rows])
            total = total + self.target_weight * ((cost - self.target) / max(high - low, 1e-12)) ** 2
        for row, gradient in zip(self._rows, torch.autograd.grad(total, self._rows), strict=True):
            row.grad = gradient
        self._adam.step()
        self._adam.zero_grad()

    def ask(self) -> list[Architecture]:
        if self.judged or self.waiting:
            return []
        scores = [row.detach().reshape(-1).log_softmax(dim=0).double().cpu().numpy() for row in self._rows]
        found = likeliest(self.problem, scores, 2 * self.queries)  # some may be one network
        return [each for each in found if self.left > 0 and self.take(each)]

    def state_dict(self) -> dict[str, Any]:
        rows = [row.detach().clone() for row in self._rows]
        return {**super().state_dict(), "arch_params": rows, "adam": self._adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        with torch.no_grad():
            for row, kept in zip(self._rows, state["arch_params"], strict=True):
                row.copy_(kept)
        self._adam.load_state_dict(state["adam"])
