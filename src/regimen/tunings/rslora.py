"""LoRA scaled by the root of its rank (Kalajdzievski, arXiv:2312.03732)."""

from __future__ import annotations

from regimen.tunings.lora import LoRA


class RsLoRA(LoRA):
    """LoRA scaled by alpha / sqrt(r), so that higher ranks learn as fast as lower ones (Kalajdzievski,
    arXiv:2312.03732).
    """

    name = "rslora"

    def variant(self) -> dict[str, bool]:
        return {"use_rslora": True}
