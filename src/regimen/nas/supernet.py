"""A supernet: layers of choices that share their weights between all architectures.

The names are OSNASLib's: `set_forward_state`, `set_activate_architecture`, `set_arch_param` and what they return.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.errors import Problem, SpecError
from regimen.nas.space import Architecture, Space

ForwardState = Literal["single", "sum", "softmax", "gumbel_softmax"]
STATES: tuple[ForwardState, ...] = ("single", "sum", "softmax", "gumbel_softmax")


class Supernet(nn.Module):
    """A stem, layers of which each holds its choices, and a head; all choices of a layer give one shape.

    In the state `single` one choice a layer is computed; in the others the choices of a layer are added with weights:
    the architecture parameters as they are (`sum`), their softmax, or a Gumbel softmax at temperature `tau` (Jang et
    al., arXiv:1611.01144). A space of another shape (cells) overrides `forward`, and `stages` where evaluation can
    share work.
    """

    def __init__(self, space: Space, stem: nn.Module, layers: Sequence[Iterable[nn.Module]], head: nn.Module) -> None:
        super().__init__()
        self.space, self.stem, self.head = space, stem, head
        self.layers = nn.ModuleList(nn.ModuleList(choices) for choices in layers)
        assert tuple(len(choices) for choices in self.layers) == space.sizes  # type: ignore[arg-type]
        self.state: ForwardState = "single"
        self.tau = 1.0
        self.active: Architecture = (0,) * len(space.sizes)
        self.arch_params: list[Tensor] = []

    # ------------------------------------------------------------------ what is active

    def set_forward_state(self, state: ForwardState, tau: float = 1.0) -> None:
        """Raises `SpecError` for an unknown state or a temperature that is not above 0."""
        if state not in STATES:
            raise SpecError(Problem("forward state", f"is {state!r}.", f"Give one of {', '.join(STATES)}."))
        if not tau > 0:
            raise SpecError(Problem("tau", f"is {tau}.", "Give a temperature above 0."))
        self.state, self.tau = state, tau

    def set_activate_architecture(self, architecture: Sequence[int]) -> None:
        """Chooses one choice a layer for the state `single`. Raises `SpecError` for one outside the space."""
        self.active = self.space.check(architecture)

    def initialize_arch_param(self, device: torch.device | str = "cpu") -> None:
        """Parameters that gradients can move, near 0: every choice nearly as likely as the others."""
        self.arch_params = [(1e-3 * torch.randn(1, size, device=device)).requires_grad_() for size in self.space.sizes]

    def set_arch_param(self, parameters: Tensor | Sequence[Tensor]) -> None:
        """One row a layer: a tensor (L, K), or a list of (1, K_l) or (K_l,)."""
        rows = [row.reshape(1, -1) for row in parameters]
        found = tuple(row.shape[1] for row in rows)
        if found != self.space.sizes:
            text = f"has {found} choices by layer; the space has {self.space.sizes}."
            raise SpecError(Problem("architecture parameters", text, "Give one number a choice."))
        self.arch_params = rows

    def get_arch_param(self) -> tuple[Tensor, list[Tensor]]:
        """All in one vector, and by layer."""
        return torch.cat([row.reshape(-1) for row in self.arch_params]), self.arch_params

    def get_best_arch_param(self) -> NDArray[np.int64]:
        """The likeliest choice of each layer, (L,)."""
        return np.array([int(row.argmax()) for row in self.arch_params], dtype=np.int64)

    def get_model_cfg_shape(self) -> tuple[int, int]:
        """(layers, choices); the most choices of any layer where they differ."""
        return len(self.space.sizes), max(self.space.sizes)

    # ------------------------------------------------------------------ forward

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.stem(inputs)
        for number, choices in enumerate(self.layers):
            assert isinstance(choices, nn.ModuleList)
            if self.state == "single":
                outputs = choices[self.active[number]](outputs)
            else:
                weights = self.weights_of(number)
                outputs = torch.stack([w * choice(outputs) for w, choice in zip(weights, choices, strict=True)]).sum(0)
        result: Tensor = self.head(outputs)
        return result

    def weights_of(self, layer: int) -> Tensor:
        """(K_l,): with what the choices of a layer are added in the present state."""
        row = self.arch_params[layer].reshape(-1)
        if self.state == "softmax":
            return row.softmax(dim=0)
        if self.state == "gumbel_softmax":
            return F.gumbel_softmax(row, tau=self.tau, dim=0)
        return row

    def stages(self, architecture: Architecture) -> list[tuple[tuple[int, ...], nn.Module]] | None:
        """The network of an architecture in order, each module with a key: two architectures whose first keys are the
        same compute the same so far. None for a net that is no chain.
        """
        found: list[tuple[tuple[int, ...], nn.Module]] = [((-1,), self.stem)]
        for number, choice in enumerate(architecture):
            choices = self.layers[number]
            assert isinstance(choices, nn.ModuleList)
            found.append(((number, choice), choices[choice]))
        return [*found, ((-2,), self.head)]
