"""A supernet: layers of choices that share their weights between all architectures.

The names are OSNASLib's: `set_forward_state`, `set_activate_architecture`, `set_arch_param` and what they return.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.errors import Problem, SpecError
from regimen.nas.space import Architecture, Space

ForwardState = Literal["single", "sum", "softmax", "gumbel_softmax", "gumbel_single"]
STATES: tuple[ForwardState, ...] = ("single", "sum", "softmax", "gumbel_softmax")
"""OSNASLib's; `gumbel_single` is ours."""


class Part(NamedTuple):
    """A piece of a network whose cost adds to that of the other pieces."""

    positions: tuple[int, ...]
    """The places of an architecture that it depends on; none: every network has it."""
    choices: tuple[int, ...]
    """What stands there in the architectures that have it."""
    module: nn.Module
    inputs: Tensor
    """What goes into it, one row."""


class Drawn(NamedTuple):
    """A choice that was drawn for one forward pass."""

    choice: int
    weight: Tensor
    """1, a scalar with the gradient of the probability that it was drawn with."""


class Supernet(nn.Module):
    """A stem, layers of which each holds its choices, and a head; all choices of a layer give one shape.

    In the state `single` one choice a layer is computed; in the others the choices of a layer are added with weights:
    the architecture parameters as they are (`sum`), their softmax, or a Gumbel softmax at temperature `tau` (Jang et
    al., arXiv:1611.01144). In `gumbel_single` the choice that the Gumbel softmax gives most weight is computed alone,
    times exactly 1, and its gradient is that of the weight (GDAS, Dong and Yang, arXiv:1910.04465). A space of another
    shape (cells) gives no layers and overrides `forward`, `inherited` and `parts`, and `stages` where evaluation can
    share work.
    """

    states: ClassVar[tuple[ForwardState, ...]] = (*STATES, "gumbel_single")
    """What `set_forward_state` takes."""

    def __init__(
        self,
        space: Space,
        stem: nn.Module | None = None,
        layers: Sequence[Iterable[nn.Module]] = (),
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.stem = nn.Identity() if stem is None else stem
        self.head = nn.Identity() if head is None else head
        self.layers = nn.ModuleList(nn.ModuleList(choices) for choices in layers)
        if layers:
            assert tuple(len(choices) for choices in self.layers) == space.sizes  # type: ignore[arg-type]
        self.state: ForwardState = "single"
        self.tau = 1.0
        self.active: Architecture = (0,) * len(space.sizes)
        self.arch_params: list[Tensor] = []

    # ------------------------------------------------------------------ what is active

    def set_forward_state(self, state: ForwardState, tau: float = 1.0) -> None:
        """Raises `SpecError` for an unknown state or a temperature that is not above 0."""
        if state not in self.states:
            text = f"is {state!r}; supernets of {self.space.name} have {', '.join(self.states)}."
            raise SpecError(Problem("forward state", text, "Give one of them."))
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
        drawn = self.draw() if self.state == "gumbel_single" else []
        outputs: Tensor = self.stem(inputs)
        for number in range(len(self.layers)):
            choices = self.choices_of(number)
            if self.state == "single":
                outputs = choices[self.active[number]](outputs)
            elif drawn:
                outputs = drawn[number].weight * choices[drawn[number].choice](outputs)
            else:
                outputs = weighted(self.weights_of(number), choices, outputs)
        result: Tensor = self.head(outputs)
        return result

    def weights_of(self, layer: int) -> Tensor:
        """(K_l,): with what the choices of a layer are added in the present state."""
        row = self.arch_params[layer].reshape(-1)
        if self.state == "softmax":
            return row.softmax(dim=0)
        if self.state == "gumbel_softmax":
            return F.gumbel_softmax(row, tau=self.tau, dim=0)
        if self.state == "gumbel_single":
            soft = F.gumbel_softmax(row, tau=self.tau, dim=0)
            one = torch.zeros_like(soft).scatter_(0, soft.argmax(dim=0, keepdim=True), 1.0)
            return one + (soft - soft.detach())  # exactly 1 and 0, with the gradient of the softmax
        return row

    def draw(self) -> list[Drawn]:
        """One choice a layer for the state `gumbel_single`, each with its weight; waits for the device once."""
        weights = [self.weights_of(layer) for layer in range(len(self.space.sizes))]
        choices = torch.stack([row.detach().argmax() for row in weights]).tolist()
        return [Drawn(choice, row[choice]) for choice, row in zip(choices, weights, strict=True)]

    def stages(self, architecture: Architecture) -> list[tuple[tuple[int, ...], nn.Module]] | None:
        """The network of an architecture in order, each module with a key: two architectures whose first keys are the
        same compute the same so far. None for a net that is no chain.
        """
        found: list[tuple[tuple[int, ...], nn.Module]] = [((-1,), self.stem)]
        found += [((layer, choice), self.choices_of(layer)[choice]) for layer, choice in enumerate(architecture)]
        return [*found, ((-2,), self.head)]

    def choices_of(self, layer: int) -> nn.ModuleList:
        """The modules of a layer."""
        choices = self.layers[layer]
        assert isinstance(choices, nn.ModuleList)
        return choices

    # ------------------------------------------------------------------ one architecture on its own

    def inherited(self, architecture: Architecture) -> dict[str, Tensor]:
        """The weights of an architecture under the names of its network's: a state to load into what `make_network`
        gives. Here for networks that are the stages in an `nn.Sequential`.
        """
        stages = self.stages(architecture)
        assert stages is not None
        return {
            f"{number}.{name}": tensor
            for number, (_, module) in enumerate(stages)
            for name, tensor in module.state_dict().items()
        }

    def parts(self, inputs: Tensor) -> Iterator[Part]:
        """What networks are made of, each piece with what goes into it, for measuring costs. `inputs` is one row."""
        yield Part((), (), self.stem, inputs)
        outputs = self.stem(inputs)
        for layer in range(len(self.layers)):
            choices = self.choices_of(layer)
            for choice, module in enumerate(choices):
                yield Part((layer,), (choice,), module, outputs)
            outputs = choices[0](outputs)
        yield Part((), (), self.head, outputs)


def weighted(weights: Tensor, choices: Iterable[nn.Module], inputs: Tensor) -> Tensor:
    """The sum of the outputs of all choices, each times its weight; added one by one, so that few are kept at once."""
    total: Tensor | None = None
    for weight, choice in zip(weights, choices, strict=True):
        part: Tensor = weight * choice(inputs)
        total = part if total is None else total + part
    assert total is not None
    return total
