"""SGNAS' architecture generator (Huang and Chu, arXiv:2103.04507): one training answers for many cost limits.

After the supernet's training a small network learns, with the supernet's weights fixed, to give for a wanted cost an
architecture of that cost and low loss. Otherwise than in OSNASLib: the supernet is in its state `sum` for these steps
only, batch norms use the batch and do not drift, and answers keep the limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from regimen.nas.cost import Unit
from regimen.nas.costing import expected_cost
from regimen.nas.generator import ArchitectureGenerator, gumbel_softmax
from regimen.nas.likeliest import likeliest
from regimen.nas.mixing import additive_cost, mixing
from regimen.nas.searcher import Searcher
from regimen.nas.space import Architecture
from regimen.nas.supernet import Supernet


class GeneratorSearcher(Searcher):
    """Learns to write an architecture for any wanted cost, then evaluates what it writes within the limits."""

    name = "generator"
    needs_supernet: ClassVar[bool] = True

    queries: Annotated[int, Field(ge=1, description="architectures that are written and evaluated")] = 20
    objective: Annotated[Unit, Field(description="the cost that is asked for: mmac, params or ms")] = "mmac"
    steps: Annotated[int, Field(ge=1, description="batches that the generator learns from")] = 500
    lr: Annotated[float, Field(gt=0, description="learning rate of the generator (Adam)")] = 1e-3
    width: Annotated[int, Field(ge=1, le=512, description="channels inside the generator")] = 32
    targets: Annotated[int, Field(ge=2, description="costs asked for in turn, evenly over what can be reached")] = 5
    pool: Annotated[int, Field(ge=2, description="random architectures, of which the nearest in cost is the prior")] = (
        100
    )
    tau: Annotated[float, Field(gt=0, description="first temperature of the Gumbel softmax")] = 5.0
    tau_decay: Annotated[float, Field(gt=0, le=1, description="factor of the temperature over a round of targets")] = (
        0.95
    )
    cost_weight: Annotated[
        float, Field(ge=0, description="of the squared distance to the wanted cost, in parts of the range of costs")
    ] = 10.0

    def attach(self, supernet: Supernet) -> None:
        """Raises `Refused` for a cost that is no sum over layers."""
        super().attach(supernet)
        place = "strategy.search.objective"
        self._table = additive_cost(self.problem.cost(self.objective, place), place)
        self._noise = torch.Generator().manual_seed(int(self.generator.integers(2**62)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self.generator.integers(2**62)))
            self.network = ArchitectureGenerator(supernet.space, self.width)
        self.network.to(next(supernet.parameters()).device)
        self._adam = torch.optim.Adam(self.network.parameters(), self.lr)
        self._step = 0
        self._priors = [supernet.space.random(self.generator) for _ in range(self.pool)]
        self._prior_costs = self._table.of(self._priors)

    def learn(self, loss: Callable[[], Tensor]) -> bool:
        if self._step >= self.steps:
            return False
        round_, turn = divmod(self._step, self.targets)
        jitter = float(self.generator.uniform(-0.5, 0.5))
        target = min(1.0, max(0.0, (turn + jitter) / (self.targets - 1)))
        tau = max(self.tau * self.tau_decay**round_, 0.05)
        weights = gumbel_softmax(self._logits(target), tau, self._noise)
        low, high = self._table.reach()
        cost = (expected_cost(self._table, weights) - low) / max(high - low, 1e-12)
        with mixing(self.supernet, "sum", weights):
            total = loss() + self.cost_weight * (cost - target) ** 2
        parameters = list(self.network.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(total, parameters), strict=True):
            parameter.grad = gradient
        self._adam.step()
        self._step += 1
        return True

    def scores(self, cost: float) -> list[NDArray[np.float64]]:
        """The logarithms of how likely each choice is, (K_l,) for layer l, in an architecture of this cost."""
        low, high = self._table.reach()
        with torch.no_grad():
            logits = self._logits(min(1.0, max(0.0, (cost - low) / max(high - low, 1e-12))))
        return [row.log_softmax(dim=0).double().cpu().numpy() for row in logits]

    def _logits(self, target: float) -> list[Tensor]:
        low, high = self._table.reach()
        nearest = int(np.abs(self._prior_costs - (low + target * (high - low))).argmin())
        logits: list[Tensor] = self.network(target, self._priors[nearest])
        return logits

    def ask(self) -> list[Architecture]:
        """For costs from the top of the limits to their bottom, each time the likeliest that is new."""
        if self.judged or self.waiting:
            return []
        low, high = self._table.reach()
        for limit in self.problem.limits:
            if limit.cost.unit == self.objective:
                low = max(low, limit.range.low)
                high = high if limit.range.high is None else min(high, limit.range.high)
        asked: list[Architecture] = []
        for cost in np.linspace(high, low, self.queries):
            written = likeliest(self.problem, self.scores(float(cost)), 2 * len(asked) + 1)
            new = next((each for each in written if self.take(each)), None)
            asked += [] if new is None else [new]
        return asked

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "step": self._step,
            "network": {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()},
            "adam": self._adam.state_dict(),
            "noise": self._noise.get_state(),
            "priors": [list(each) for each in self._priors],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._step = state["step"]
        self.network.load_state_dict(state["network"])
        self._adam.load_state_dict(state["adam"])
        self._noise.set_state(state["noise"])
        self._priors = [tuple(each) for each in state["priors"]]
        self._prior_costs = self._table.of(self._priors)
