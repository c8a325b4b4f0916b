"""Low-rank adapters beside frozen weights (Hu et al., arXiv:2106.09685)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
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

    def why_not(self, model_config: Any) -> str | None:
        if self.target_modules == "all-linear":
            return None
        from peft.tuners.tuners_utils import check_target_module_exists
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            names = [name for name, _ in AutoModelForCausalLM.from_config(model_config).named_modules()]
        config = self.peft_config()
        if any(check_target_module_exists(config, name) for name in names):
            return None
        there = sorted({name.rpartition(".")[2] for name in names if name.endswith(("proj", "fc1", "fc2", "dense"))})
        known = f" It has, among others: {', '.join(there)}." if there else ""
        return f"tuning.target_modules is {self.target_modules!r}, and the model has no such layer.{known}"

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
