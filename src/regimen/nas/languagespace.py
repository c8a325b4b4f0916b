"""Search spaces that are made of a language model, which a task brings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from regimen.errors import Problem, SpecError
from regimen.nas.searchspace import SearchSpace
from regimen.nas.space import Architecture


class LanguageSpace(SearchSpace):
    """The base of spaces around a language model: `attach` comes before anything else."""

    def attach(self, outline: Callable[[], nn.Module], load: Callable[[], nn.Module]) -> None:
        """Gives it the model: `outline` makes it without weights (on the meta device), `load` with them, afresh each
        time; both take token ids (B, T) and give logits (B, T, V), as transformers' causal models do.
        """
        self._outline, self._load = outline, load

    def outline(self) -> nn.Module:
        """The model without weights. Raises `SpecError` where no task has brought one."""
        if not hasattr(self, "_outline"):
            text = f"{self.name} is a space of a language model, and the task brings none."
            raise SpecError(Problem("task.supernet.space", text, "Use the task lora_ranks."))
        return self._outline()

    def load(self) -> nn.Module:
        """The model with its weights."""
        self.outline()
        return self._load()

    def export(self, network: nn.Module, architecture: Architecture, folder: Path, base_model: str) -> None:
        """Writes an architecture of the supernet, or what `make_network` made of it, for others to load. `base_model`
        is the name or folder of the model.
        """
        raise TypeError(f"{type(self).__name__} has no export(network, architecture, folder, base_model)")
