"""The kinds of plug-ins: where their files are, and what their classes derive from."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of plug-in: where its files are, what its classes derive from."""

    name: str
    """The word for it in messages and in settings."""
    package: str
    """The package's own folder of them, as a module."""
    base: str
    """`module:Class` that a plug-in gets its missing methods from."""
    more_bases: tuple[str, ...]
    """Other classes of ours that tell the kind of what derives from them."""
    marks: tuple[str, ...]
    """Methods that tell a class of this kind when it has no base class."""
    family: str = ""


KINDS = {
    "finetune": Kind(
        "strategy",
        "regimen.strategies.finetune",
        "regimen.finetune.strategy:TrainingStrategy",
        ("PreferenceStrategy",),
        ("prepare_dataset", "create_trainer", "prepare_model", "get_required_dataset_fields"),
        "finetune",
    ),
    "benchmark": Kind(
        "strategy",
        "regimen.strategies.benchmark",
        "regimen.benchmark.runner:Runner",
        ("PTRunner", "TFRunner"),
        ("training",),
        "benchmark",
    ),
    "nas": Kind(
        "strategy",
        "regimen.strategies.nas",
        "regimen.nas.sampler:Sampler",
        ("BaseSampler",),
        ("generate_training_architecture", "plan"),
        "nas",
    ),
    "task": Kind(
        "task",
        "regimen.tasks",
        "regimen.task:Task",
        ("LanguageTask", "Problem", "ImageProblem", "TokenProblem"),
        ("load_model", "make_net"),
    ),
    "space": Kind("space", "regimen.spaces", "regimen.nas.searchspace:SearchSpace", (), ("make_supernet",)),
    "searcher": Kind("searcher", "regimen.searchers", "regimen.nas.searcher:Searcher", (), ("ask", "tell")),
    "criterion": Kind("criterion", "regimen.criteria", "regimen.nas.criterion:Criterion", (), ("losses",)),
    "tuning": Kind("tuning", "regimen.tunings", "regimen.finetune.tuning:Tuning", (), ("apply",)),
}
STRATEGIES = tuple(key for key, kind in KINDS.items() if kind.name == "strategy")


@functools.cache
def folder_of(kind: str) -> Path | None:
    """The package's own folder of a kind; None where it has none."""
    spec = importlib.util.find_spec(KINDS[kind].package)
    return Path(spec.origin).parent if spec and spec.origin else None
