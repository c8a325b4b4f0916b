"""Which parameters of a model move: the base of the tuning methods, an axis of its own beside the objective."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import nn


class Tuning:
    """A tuning method: a plug-in like a strategy, its annotated attributes are its settings."""

    name: ClassVar[str] = ""

    def why_not(self, model_config: Any) -> str | None:
        """The reason why it cannot tune a model of this configuration; None if it can."""
        return None

    def apply(self, model: nn.Module) -> nn.Module:
        """The model with just the parameters to train requiring gradients."""
        raise TypeError(f"{type(self).__name__} has no apply(model)")
