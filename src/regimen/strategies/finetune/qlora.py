"""QLoRA: adapters on a base stored in 4 bits (Dettmers et al., arXiv:2305.14314)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from regimen.choices import PluginOf
from regimen.finetune.models import Quantization
from regimen.spec import Choice
from regimen.strategies.finetune.sft import SFT


class QLoRA(SFT):
    """Supervised fine-tuning of adapters on a base that is stored in 4 bits."""

    name = "qlora"

    tuning: Annotated[Choice, PluginOf("tuning"), Field(description="which parameters move")] = Choice.model_validate(
        {"name": "lora", "r": 64, "alpha": 16, "dropout": 0.05}
    )
    quantize: Annotated[Quantization | None, Field(description="how the frozen base is stored")] = Quantization()
