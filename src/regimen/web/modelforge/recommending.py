"""What this machine can train: a profile of its memory, models that fit it, and settings to begin with."""

from __future__ import annotations

from typing import Any, NamedTuple

from regimen.web.modelforge.names import Profile
from regimen.web.services.hardware import Hardware

GIB = 1 << 30
_MID_GIB, _HIGH_GIB = 7.5, 15.0
"""From so much memory of one GPU on: 8 GB and 16 GB as they are sold, of which the driver takes some."""


class Fitting(NamedTuple):
    """What fits a profile."""

    models: tuple[str, ...]
    """The recommended one first. All take chats, so that they serve every task; the last of the first profile needs
    no download.
    """
    batch_size: int
    accumulate: int
    max_length: int


FITTING: dict[Profile, Fitting] = {
    "low_end": Fitting(
        (
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "HuggingFaceTB/SmolLM2-360M-Instruct",
            "Qwen/Qwen2.5-0.5B-Instruct",
            "tiny",
        ),
        1,
        8,
        512,
    ),
    "mid_range": Fitting(
        ("Qwen/Qwen2.5-1.5B-Instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct", "Qwen/Qwen2.5-3B-Instruct"), 2, 4, 1024
    ),
    "high_end": Fitting(
        ("Qwen/Qwen2.5-7B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", "mistralai/Mistral-7B-Instruct-v0.3"),
        4,
        2,
        2048,
    ),
}


def profile_of(found: Hardware) -> Profile:
    """By the memory of the largest GPU; without one it is low."""
    largest = max((gpu.memory_bytes for gpu in found.gpus), default=0) / GIB
    return "high_end" if largest >= _HIGH_GIB else "mid_range" if largest >= _MID_GIB else "low_end"


def first_settings(found: Hardware) -> dict[str, Any]:
    """To begin with, in flat names; all of them can be given to `/api/start_training` as they are."""
    fits = FITTING[profile_of(found)]
    return {
        "per_device_train_batch_size": fits.batch_size,
        "gradient_accumulation_steps": fits.accumulate,
        "num_train_epochs": 3,
        "max_steps": -1,
        "learning_rate": 2e-4,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.03,
        "optim": "adamw_torch",
        "max_seq_length": fits.max_length,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "use_4bit": bool(found.gpus),
        "gradient_checkpointing": bool(found.gpus),
        "logging_steps": 10,
        "eval_split": 0.1,
    }
