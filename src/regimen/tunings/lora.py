"""Low-rank adapters beside frozen weights (Hu et al., arXiv:2106.09685)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from regimen.finetune.tuning import Tuning

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import nn


class LoRA(Tuning):
    """Trains low-rank updates of the linear layers; the base stays frozen (Hu et al., arXiv:2106.09685)."""

    name = "lora"

    r: Annotated[int, Field(ge=1, le=1024, description="rank of the update")] = 16
    alpha: Annotated[
        float, Field(gt=0, description="the update is scaled by alpha / r (alpha / sqrt(r) for rsLoRA)")
    ] = 32
    dropout: Annotated[float, Field(ge=0, lt=1, description="of the adapter's input while training")] = 0.0
    target_modules: Annotated[
        str | list[str],
        Field(description="names of layers, or a pattern; all-linear is every linear layer but the output head"),
    ] = "all-linear"
    init: Annotated[
        Literal["default", "gaussian", "pissa", "olora", "orthogonal"],
        Field(description="how the adapter starts; all but pissa and olora start at zero"),
    ] = "default"
    modules_to_save: Annotated[
        list[str], Field(description="modules trained in full and saved with the adapter, such as lm_head")
    ] = []

    def apply(self, model: nn.Module) -> nn.Module:
        from peft import get_peft_model

        tuned: nn.Module = get_peft_model(model, self.peft_config())
        return tuned

    def peft_config(self) -> LoraConfig:
        from peft import LoraConfig, TaskType

        return LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.target_modules,
            init_lora_weights=True if self.init == "default" else self.init,
            modules_to_save=self.modules_to_save or None,
            bias="none",
            **self.variant(),
        )

    def variant(self) -> dict[str, bool]:
        """What a relative of LoRA changes in PEFT's configuration."""
        return {}
