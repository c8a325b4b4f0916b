"""Every parameter moves."""

from __future__ import annotations

from torch import nn

from regimen.finetune.tuning import Tuning


class Full(Tuning):
    """Trains all weights of the model; needs memory for gradients and optimizer states of all of them."""

    name = "full"

    def apply(self, model: nn.Module) -> nn.Module:
        return model.requires_grad_(True)
