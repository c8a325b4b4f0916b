"""The network of SGNAS (Huang and Chu, arXiv:2103.04507): from a wanted cost and a known architecture to a new one.

L layers, K the most choices of a layer, W channels inside. Ours is smaller than the paper's and has group norms, since
it sees one architecture at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.space import Architecture, Space


class ArchitectureGenerator(nn.Module):
    """Convolutions over the map of layers and choices."""

    def __init__(self, space: Space, width: int) -> None:
        super().__init__()
        self.space = space
        self.cost_head = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 1))
        self.prior_head = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(1, width), nn.ReLU()) for _ in range(3)
        )
        self.place = nn.Parameter(torch.zeros(1, width, len(space.sizes), max(space.sizes)))
        """What is particular to a choice: a convolution alone knows no place."""
        self.tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, target: float, prior: Architecture) -> list[Tensor]:
        """The logits of the choices, (K_l,) for layer l. `target` is 0 for the cheapest architecture, 1 for the
        dearest; `prior` costs about as much.
        """
        depth, most = len(self.space.sizes), max(self.space.sizes)
        chosen_LK = F.one_hot(torch.tensor(prior, device=self.place.device), most).to(self.place.dtype)
        wanted_LK = torch.full((depth, most), target, device=self.place.device, dtype=self.place.dtype)
        map_WLK = self.cost_head(wanted_LK[None, None]) + self.prior_head(chosen_LK[None, None]) + self.place
        for block in self.blocks:
            map_WLK = map_WLK + block(map_WLK)
        logits_LK = self.tail(map_WLK)[0, 0]
        return [logits_LK[layer, :size] for layer, size in enumerate(self.space.sizes)]


def gumbel_softmax(logits: Sequence[Tensor], tau: float, generator: torch.Generator) -> list[Tensor]:
    """(K_l,) for layer l, drawn from `generator` alone (Jang et al., arXiv:1611.01144)."""
    drawn = []
    for row in logits:
        uniform = torch.rand(row.shape, generator=generator).clamp(1e-20, 1 - 1e-7).to(row)
        drawn.append(((row - (-uniform.log()).log()) / tau).softmax(dim=0))
    return drawn
