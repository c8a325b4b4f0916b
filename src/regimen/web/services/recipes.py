"""Ready settings to start from: each is a RUN.yaml that passes its check, with a data set where it says so."""

from __future__ import annotations

from typing import Any, NamedTuple


class Recipe(NamedTuple):
    """Settings with a name."""

    name: str
    title: str
    description: str
    needs: str
    """The layout that a data set of the user's must have; empty where the task brings its data."""
    settings: dict[str, Any]
    """As in RUN.yaml. With `needs`, `task.data.train` is still to be given."""


_TINY = {"name": "text", "model": "tiny"}

RECIPES = (
    Recipe(
        "lora",
        "Fine-tune a tiny model on your file",
        "LoRA on questions with answers, or chats. Takes minutes without a GPU; put your own model in task.model.",
        "instruction",
        {
            "task": _TINY,
            "strategy": {
                "name": "sft",
                "tuning": {"name": "lora", "r": 16},
                "optimizer": {"name": "adamw", "lr": 2e-4},
                "overlength": "truncate",
            },
            "budget": {"epochs": 3},
        },
    ),
    Recipe(
        "full",
        "Train all weights on your file",
        "For small models: every weight moves, so it needs four times the memory of the weights.",
        "instruction",
        {
            "task": _TINY,
            "strategy": {
                "name": "sft",
                "tuning": {"name": "full"},
                "optimizer": {"name": "adamw", "lr": 5e-5},
                "overlength": "truncate",
            },
            "budget": {"epochs": 3},
            "checkpoint": {"best": "valid/loss"},
        },
    ),
    Recipe(
        "dpo",
        "Learn preferences from your file",
        "DPO on rows with a prompt, a chosen and a rejected answer (Rafailov et al., arXiv:2305.18290).",
        "preference",
        {
            "task": _TINY,
            "strategy": {"name": "dpo", "overlength": "truncate"},
            "budget": {"epochs": 1},
        },
    ),
    Recipe(
        "sorting",
        "See fine-tuning work in a minute",
        "A tiny model learns to sort digits; data and model are made here, and every answer can be checked.",
        "",
        {
            "task": {"name": "sorting", "train_rows": 2000, "valid_rows": 100},
            "strategy": {"name": "sft", "tuning": {"name": "full"}, "optimizer": {"name": "adamw", "lr": 1e-3}},
            "budget": {"epochs": 3},
        },
    ),
    Recipe(
        "optimizer",
        "Benchmark an optimizer on digits",
        "Momentum SGD on a small convolutional network; clone it with other optimizers and compare.",
        "",
        {
            "task": {"name": "digits_cnn"},
            "strategy": {"name": "standard", "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}},
            "seed": 42,
        },
    ),
    Recipe(
        "architecture",
        "Search an architecture on digits",
        "A fair one-shot supernet of a small chain, then evolution within two million multiplications.",
        "",
        {
            "task": {"name": "digits", "supernet": {"space": "chain"}},
            "strategy": {"name": "fair", "search": {"name": "evolution", "cost": {"max": {"mmac": 2.0}}}},
            "budget": {"epochs": 20},
        },
    ),
)


def recipe(name: str) -> Recipe | None:
    """One by name."""
    return next((one for one in RECIPES if one.name == name), None)
