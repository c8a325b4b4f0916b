"""Elastic LoRA: low-rank adapters whose ranks are a search space, with weights that all ranks share.

An adapter of rank r is the first r rows of A and columns of B of the largest one, so that ranks are nested: the change
of a linear layer is `scale(r) * B[:, :r] @ A[:r]` (Hu et al., arXiv:2106.09685, for one rank; nested ranks as in
Shears, Munoz et al., arXiv:2404.10934). A layer of the space is a group of linear layers that have one rank. PEFT loads
what is exported, with `rank_pattern` and `alpha_pattern`.

B rows, T tokens, I and O inputs and outputs of a linear layer, R ranks, K choices of a layer of the space.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.nas.cost import CostTable
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Part, Supernet

Scaling = Literal["rank", "fixed"]
_TRAINED = ("lora_A", "lora_B")


class RankGroup(NamedTuple):
    """Linear layers that have one rank, and the ranks to choose from."""

    name: str
    modules: tuple[str, ...]
    """Full names in the model."""
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Adapters:
    """How adapters change their layers."""

    alpha: float = 32.0
    scaling: Scaling = "rank"
    """`rank`: alpha / r, as LoRA; `fixed`: alpha over the largest rank of all, so that a change keeps its size."""
    largest: int = 1
    """The largest rank of all."""
    dropout: float = 0.0

    def scale(self, rank: int) -> float:
        """What the update of an adapter of this rank is multiplied by."""
        return self.alpha / (rank if self.scaling == "rank" else self.largest)

    def alpha_of(self, rank: int) -> int:
        """The alpha that gives this scale as alpha / rank, a whole number where it is one."""
        alpha = self.alpha if self.scaling == "rank" else self.alpha * rank / self.largest
        return int(alpha) if alpha == int(alpha) else cast(int, alpha)  # PEFT says int, and divides


class ElasticLinear(nn.Module):
    """A frozen linear layer and an adapter of which a part is active: (..., I) to (..., O).

    `mix` (R,) is what each component of the adapter is multiplied by; None for the first `rank` with the scale of that
    rank, times `factor` where it was drawn with one.
    """

    def __init__(self, base: nn.Linear, ranks: Sequence[int], adapters: Adapters) -> None:
        super().__init__()
        self.base, self.ranks, self.adapters = base, tuple(ranks), adapters
        self.dropout = nn.Dropout(adapters.dropout)
        device = base.weight.device
        self.lora_A = nn.Parameter(torch.empty(max(ranks), base.in_features, device=device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, max(ranks), device=device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.rank = self.ranks[0]
        self.mix: Tensor | None = None
        self.factor: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.base(inputs)
        given = self.dropout(inputs.to(self.lora_A.dtype))
        if self.mix is None:
            change = F.linear(F.linear(given, self.lora_A[: self.rank]), self.lora_B[:, : self.rank])
            change = change * self.adapters.scale(self.rank)
            change = change if self.factor is None else self.factor * change
        else:
            change = F.linear(F.linear(given, self.lora_A) * self.mix, self.lora_B)
        return result + change.to(result.dtype)

    def mixed(self, weights_K: Tensor) -> Tensor:
        """(R,): the choices added with weights, as factors of the components; those that several ranks share add up."""
        component_R = torch.arange(max(self.ranks), device=weights_K.device)
        active_KR = component_R < torch.tensor(self.ranks, device=weights_K.device)[:, None]
        scale_K = torch.tensor([self.adapters.scale(rank) for rank in self.ranks], device=weights_K.device)
        return ((weights_K * scale_K)[:, None] * active_KR).sum(dim=0)


class ElasticLoraSupernet(Supernet):
    """A language model with frozen weights and elastic adapters: token ids (B, T) to logits (B, T, V).

    Padding is on the right, where a causal model does not look back from, so no mask is needed. In the states that add
    choices, the ranks of a group are added at no more cost than that of the largest. Its state holds the adapters
    alone: the frozen model comes from where it came from.
    """

    def __init__(self, model: nn.Module, groups: Sequence[RankGroup], adapters: Adapters) -> None:
        super().__init__(space_of(groups))
        self.groups = tuple(groups)
        self.elastic: list[list[ElasticLinear]] = []
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for group in groups:
            made = [(name, ElasticLinear(_linear(model, name), group.ranks, adapters)) for name in group.modules]
            for name, layer in made:
                model.set_submodule(name, layer)
            self.elastic.append([layer for _, layer in made])
        self.adapters = adapters
        self.model = model
        self.register_state_dict_post_hook(_without_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_frozen_is_there)  # type: ignore[no-untyped-call]
        self.activate()

    def forward(self, inputs: Tensor) -> Tensor:
        self.activate()
        logits: Tensor = self.model(input_ids=inputs, use_cache=False).logits
        return logits

    def activate(self) -> None:
        """Gives each adapter what the state of the supernet says."""
        drawn = self.draw() if self.state == "gumbel_single" else []
        for number, layers in enumerate(self.elastic):
            weights_K = None if drawn or self.state == "single" else self.weights_of(number)
            choice, weight = drawn[number] if drawn else (self.active[number], None)
            for layer in layers:
                layer.rank, layer.factor = layer.ranks[choice], weight
                layer.mix = None if weights_K is None else layer.mixed(weights_K)

    def stages(self, architecture: Architecture) -> None:
        """None: the model is no chain of choices."""

    def parts(self, inputs: Tensor) -> Iterator[Part]:
        """The adapters alone, which is what ranks change: the frozen model costs the same for all. `inputs` is one row
        of token ids, (1, T).
        """
        for number, (group, layers) in enumerate(zip(self.groups, self.elastic, strict=True)):
            for layer in layers:
                wide, narrow = layer.base.in_features, layer.base.out_features
                given = torch.zeros(*inputs.shape, wide, device=inputs.device)
                for choice, rank in enumerate(group.ranks):
                    down, up = nn.Linear(wide, rank, bias=False), nn.Linear(rank, narrow, bias=False)
                    yield Part((number,), (choice,), nn.Sequential(down, up).to(inputs.device), given)

    def cost_table(self) -> CostTable:
        """Parameters of the adapters, `r * (I + O)` for each linear layer: an exact sum."""
        sizes = [[layer.base.in_features + layer.base.out_features for layer in layers] for layers in self.elastic]
        rows = [
            np.array([rank * sum(of_group) for rank in group.ranks], dtype=np.float64)
            for group, of_group in zip(self.groups, sizes, strict=True)
        ]
        return CostTable("params", 0.0, tuple(rows))

    def adapter(self, architecture: Architecture) -> dict[str, tuple[Tensor, Tensor]]:
        """{name of a linear layer: (A (r, I), B (O, r))} of one architecture: copies of the shared weights."""
        return {
            name: (layer.lora_A.detach()[:rank].clone(), layer.lora_B.detach()[:, :rank].clone())
            for name, layer, rank in self._chosen(architecture)
        }

    def inherited(self, architecture: Architecture) -> dict[str, Tensor]:
        """The adapter as a state for a network that has these ranks alone."""
        return {
            f"model.{name}.{part}": tensor
            for name, pair in self.adapter(architecture).items()
            for part, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
        }

    def export(self, architecture: Architecture, folder: Path, base_model: str = "") -> None:
        """Writes one architecture as an adapter that PEFT loads: `adapter_config.json`, `adapter_model.safetensors`.

        `base_model` is the name or folder of the model that it belongs to. Raises `SpecError` for an architecture
        outside the space.
        """
        from peft import LoraConfig
        from safetensors.torch import save_file

        ranks = {name: rank for name, _, rank in self._chosen(architecture)}
        largest = max(ranks.values())
        config = LoraConfig(
            task_type="CAUSAL_LM",
            base_model_name_or_path=base_model or None,
            inference_mode=True,
            r=largest,
            lora_alpha=self.adapters.alpha_of(largest),
            lora_dropout=self.adapters.dropout,
            target_modules=sorted(ranks),
            rank_pattern={name: rank for name, rank in ranks.items() if rank != largest},
            alpha_pattern={name: self.adapters.alpha_of(rank) for name, rank in ranks.items() if rank != largest},
        )
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(str(folder))
        tensors = {
            f"base_model.model.{name}.{part}.weight": tensor.contiguous().cpu()
            for name, pair in self.adapter(architecture).items()
            for part, tensor in zip(("lora_A", "lora_B"), pair, strict=True)
        }
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def _chosen(self, architecture: Architecture) -> Iterator[tuple[str, ElasticLinear, int]]:
        for group, layers, choice in zip(self.groups, self.elastic, self.space.check(architecture), strict=True):
            for name, layer in zip(group.modules, layers, strict=True):
                yield name, layer, group.ranks[choice]


def space_of(groups: Sequence[RankGroup]) -> Space:
    """The space of the ranks of some groups."""
    choices = tuple(tuple(f"{group.name}: rank {rank}" for rank in group.ranks) for group in groups)
    return Space("elastic_lora", tuple(len(group.ranks) for group in groups), choices)


def middle(space: Space) -> Architecture:
    """The middle entry of every list, the smaller of two: what a search must beat (the heuristic of Shears)."""
    return tuple((size - 1) // 2 for size in space.sizes)


def fixed(groups: Sequence[RankGroup], architecture: Architecture) -> list[RankGroup]:
    """The same groups with the one rank that the architecture chooses for each."""
    chosen = space_of(groups).check(architecture)
    return [group._replace(ranks=(group.ranks[choice],)) for group, choice in zip(groups, chosen, strict=True)]


def linear_layers(model: nn.Module) -> list[str]:
    """Full names of all linear layers but the output head, in the order of the model."""
    head = cast(Any, model).get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return [name for name, part in model.named_modules() if isinstance(part, nn.Linear) and part is not head]


def grouped(
    names: Iterable[str], together: Sequence[tuple[Sequence[str], Sequence[int]]], ranks: Sequence[int]
) -> list[RankGroup]:
    """Linear layers by block (the part of a name up to its last number) and by which of their last names go together,
    each with the ranks to choose from; a layer in no list is alone, with `ranks`.
    """
    found: dict[tuple[str, str], tuple[list[str], tuple[int, ...]]] = {}
    for name in names:
        parts = name.split(".")
        last_number = max((place for place, part in enumerate(parts) if part.isdigit()), default=-1)
        block, last = ".".join(parts[: last_number + 1]), parts[-1]
        alike = next((entry for entry in together if last in entry[0]), None)
        key = (block, "+".join(alike[0])) if alike else (block, ".".join(parts[last_number + 1 :]))
        found.setdefault(key, ([], tuple(alike[1] if alike else ranks)))[0].append(name)
    return [
        RankGroup(f"{block}.{label}".lstrip("."), tuple(modules), of_group)
        for (block, label), (modules, of_group) in found.items()
    ]


def _without_frozen(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: dict[str, Any]) -> None:
    for name in [name for name in state if name.startswith(prefix) and not name.endswith(_TRAINED)]:
        del state[name]


def _frozen_is_there(module: nn.Module, keys: Any) -> None:
    keys.missing_keys[:] = [name for name in keys.missing_keys if name.endswith(_TRAINED)]


def _linear(model: nn.Module, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear), name
    return layer
