"""The ranks of a fine-tune's adapters as a search space: how much each part of a language model has to change."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from regimen.errors import Problem, SpecError
from regimen.nas.elasticlora import Adapters, ElasticLoraSupernet, RankGroup, fixed, grouped, linear_layers, space_of
from regimen.nas.languagespace import LanguageSpace
from regimen.nas.searchspace import Inputs
from regimen.nas.space import Architecture, Space
from regimen.spec import Frozen

PLACE = "task.supernet.space"


class Together(Frozen):
    """Linear layers of one block that have one rank."""

    modules: Annotated[list[str], Field(min_length=1, description="last names of the layers, such as q_proj")]
    ranks: Annotated[list[int] | None, Field(description="ranks to choose from; unset: those of the space")] = None


USUAL = (
    ("q_proj", "k_proj", "v_proj"),
    ("query_key_value",),
    ("gate_proj", "up_proj"),
)
"""What goes together where the settings do not say: layers with the same input."""


class ElasticLoRA(LanguageSpace):
    """Ranks of low-rank adapters by group of layers: nested, so that all ranks of a layer share their weights.

    For the task `lora_ranks`, which brings the language model. The cost is the number of trained parameters.
    """

    name = "elastic_lora"

    ranks: Annotated[list[int], Field(min_length=1, description="ranks to choose from")] = [2, 4, 8]
    together: Annotated[
        list[Together] | None,
        Field(
            description="layers of a block that have one rank; unset: query, key and value, and gate and up; a layer "
            "in no list has a rank of its own"
        ),
    ] = None
    target_modules: Annotated[
        list[str] | Literal["all-linear"],
        Field(description="last names of the linear layers that get adapters; all-linear: all but the output head"),
    ] = "all-linear"
    alpha: Annotated[float, Field(gt=0, description="the update is scaled by alpha / rank")] = 32.0
    scaling: Annotated[
        Literal["rank", "fixed"],
        Field(description="rank: alpha over the active rank; fixed: alpha over the largest rank of all"),
    ] = "rank"
    dropout: Annotated[float, Field(ge=0, lt=1, description="of the adapter's input while training")] = 0.0

    @cached_property
    def groups(self) -> list[RankGroup]:
        """The layers of the space. Raises `SpecError` for ranks or names that cannot be meant."""
        names = linear_layers(self.outline())
        if self.target_modules != "all-linear":
            self._check_names("target_modules", self.target_modules, names)
            names = [name for name in names if name.rpartition(".")[2] in self.target_modules]
        return grouped(names, self._together(names), self._ranks("ranks", self.ranks))

    @property
    def space(self) -> Space:
        return space_of(self.groups)

    @property
    def adapters(self) -> Adapters:
        largest = max(max(group.ranks) for group in self.groups)
        return Adapters(self.alpha, self.scaling, largest, self.dropout)

    def make_supernet(self, inputs: Inputs) -> ElasticLoraSupernet:
        return ElasticLoraSupernet(self.load(), self.groups, self.adapters)

    def make_network(self, architecture: Architecture, inputs: Inputs) -> ElasticLoraSupernet:
        """The model with adapters of these ranks alone, not trained yet: a space of one architecture, (0, 0, ...)."""
        return ElasticLoraSupernet(self.load(), fixed(self.groups, architecture), self.adapters)

    def export(self, network: nn.Module, architecture: Architecture, folder: Path, base_model: str) -> None:
        """As an adapter that PEFT loads, with `rank_pattern` and `alpha_pattern`."""
        assert isinstance(network, ElasticLoraSupernet)
        single = network.space.num_architectures == 1
        network.export((0,) * len(network.groups) if single else architecture, folder, base_model)

    def _together(self, names: list[str]) -> list[tuple[list[str], list[int]]]:
        common = self._ranks("ranks", self.ranks)
        if self.together is None:
            return [(list(group), common) for group in USUAL]
        found: list[tuple[list[str], list[int]]] = []
        for number, group in enumerate(self.together):
            self._check_names(f"together[{number}].modules", group.modules, names)
            ranks = common if group.ranks is None else self._ranks(f"together[{number}].ranks", group.ranks)
            found.append((group.modules, ranks))
        every = [name for group in self.together for name in group.modules]
        twice = next((name for name in every if every.count(name) > 1), None)
        if twice:
            raise SpecError(Problem(f"{PLACE}.together", f"names {twice} more than once.", "Name each layer once."))
        return found

    def _ranks(self, key: str, ranks: list[int]) -> list[int]:
        if not ranks or min(ranks) < 1 or sorted(set(ranks)) != ranks:
            text = f"is {ranks}; expected different ranks of 1 or more, the smallest first."
            raise SpecError(Problem(f"{PLACE}.{key}", text, "Write them so, such as [2, 4, 8]."))
        return ranks

    def _check_names(self, key: str, wanted: list[str], names: list[str]) -> None:
        known = sorted({name.rpartition(".")[2] for name in names})
        unknown = next((name for name in wanted if name not in known), None)
        if unknown is not None:
            text = f"names {unknown!r}, and the model has no such linear layer."
            raise SpecError(Problem(f"{PLACE}.{key}", text, f"It has: {', '.join(known)}."))
