"""LoRA that learns magnitude and direction apart (Liu et al., arXiv:2402.09353)."""

from __future__ import annotations

from regimen.tunings.lora import LoRA


class DoRA(LoRA):
    """LoRA on the direction of each weight, its magnitude learned apart (Liu et al., arXiv:2402.09353)."""

    name = "dora"

    def variant(self) -> dict[str, bool]:
        return {"use_dora": True}
