"""Supervised fine-tuning: the likelihood of the answers."""

from __future__ import annotations

from regimen.finetune.strategy import TrainingStrategy


class SFT(TrainingStrategy):
    """Supervised fine-tuning: cross-entropy on the assistant's tokens, the end token among them."""

    name = "sft"
