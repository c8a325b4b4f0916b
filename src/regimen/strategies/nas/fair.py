"""Fair sampling: every choice of every layer equally often, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from regimen.nas.sampler import Path, Sampler
from regimen.nas.space import Architecture


class FairnessSampler(Sampler):
    """Strict fairness (FairNAS, Chu et al., arXiv:1907.01845): a step trains as many paths as a layer has choices, each
    choice in exactly one of them; gradients are added and one update is made.

    With `strict: false` each of these paths is a step of its own, on a batch of its own: expectation fairness, which is
    what OSNASLib's sampler of this name does. Where layers differ in their numbers of choices, a layer with fewer
    begins again with a new permutation.
    """

    name = "fair"

    strict: Annotated[bool, Field(description="one update for all choices; false: one for each path")] = True

    def generate_training_architecture(self) -> Architecture:
        """The next path: from each layer's permutation the next choice, a new permutation where one is used up."""
        orders = self._orders()
        for layer, size in enumerate(self.model.space.sizes):
            if not orders[layer]:
                orders[layer] = [int(choice) for choice in self.generator.permutation(size)]
        return tuple(order.pop(0) for order in orders)

    def plan(self, step: int) -> list[Path]:
        if not self.strict:
            return super().plan(step)
        return [Path(self.generate_training_architecture()) for _ in range(max(self.model.space.sizes))]

    def why_not_again(self) -> str | None:
        if self.strict and len(set(self.model.space.sizes)) == 1:
            return None  # each plan is a whole window
        return (
            "is fair over several plans, each choice dealt out once; a plan that is thrown away would take its choices "
            "with it. With strict: true, where all layers have the same number of choices, each plan is fair on its own"
        )

    def _orders(self) -> list[list[int]]:
        if not hasattr(self, "orders"):
            self.orders: list[list[int]] = [[] for _ in self.model.space.sizes]
        return self.orders

    def state_dict(self) -> dict[str, Any]:
        return {"orders": [list(order) for order in self._orders()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.orders = [list(order) for order in state["orders"]]
