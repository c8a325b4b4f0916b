"""The flat names that ModelForge and transformers publish, and where each of them stands in a run's settings: the one
table.

The API, the `config` that a strategy's hooks get, and the importers read it. A name that is one setting is a path; a
few need a translation of their value, given as two functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from regimen.errors import Problem, SpecError, did_you_mean


class Published(NamedTuple):
    path: str
    """Where it stands in a run's settings."""
    inward: Callable[[Any], Any] = lambda value: value
    """From the published value to ours; `UNSET` leaves the setting out."""
    outward: Callable[[Any], Any] = lambda value: value


class _Unset:
    """The published value means: not given."""


UNSET = _Unset()

_SCHEDULES = {"constant_with_warmup": "constant", "constant": "constant", "linear": "linear", "cosine": "cosine"}

NAMES: dict[str, Published] = {
    "task": Published("task.purpose"),
    "model_name": Published("task.model"),
    "provider": Published("task.provider"),
    "dataset": Published("task.data.train"),
    "eval_split": Published("task.data.eval_split"),
    "output_dir": Published("output"),
    "strategy": Published("strategy.name"),
    "use_lora": Published("strategy.tuning.name", lambda use: UNSET if use else "full", lambda name: name != "full"),
    "lora_r": Published("strategy.tuning.r"),
    "lora_alpha": Published("strategy.tuning.alpha"),
    "lora_dropout": Published("strategy.tuning.dropout"),
    "target_modules": Published("strategy.tuning.target_modules"),
    "use_4bit": Published("strategy.quantize.bits", lambda use: 4 if use else UNSET, lambda bits: bits == 4),
    "use_8bit": Published("strategy.quantize.bits", lambda use: 8 if use else UNSET, lambda bits: bits == 8),
    "bnb_4bit_compute_dtype": Published("strategy.quantize.compute"),
    "bnb_4bit_quant_type": Published("strategy.quantize.type"),
    "use_nested_quant": Published("strategy.quantize.double"),
    "fp16": Published("precision", lambda use: "fp16" if use else UNSET, lambda name: name == "fp16"),
    "bf16": Published("precision", lambda use: "bf16" if use else UNSET, lambda name: name == "bf16"),
    "num_train_epochs": Published("budget.epochs", lambda n: UNSET if n is None or n < 0 else n),
    "max_steps": Published(
        "budget.steps", lambda n: UNSET if n is None or n < 0 else n, lambda n: -1 if n is None else n
    ),
    "per_device_train_batch_size": Published("strategy.batch_size"),
    "per_device_eval_batch_size": Published("strategy.eval_batch_size"),
    "gradient_accumulation_steps": Published("strategy.accumulate"),
    "gradient_checkpointing": Published("strategy.gradient_checkpointing"),
    "max_grad_norm": Published(
        "strategy.clip_norm", lambda norm: None if norm == 0 else norm, lambda norm: norm or 0.0
    ),
    "learning_rate": Published("strategy.optimizer.lr"),
    "weight_decay": Published("strategy.optimizer.weight_decay"),
    "optim": Published("strategy.optimizer.name"),
    "lr_scheduler_type": Published("strategy.schedule.name", lambda name: _SCHEDULES.get(name, name)),
    "warmup_ratio": Published("strategy.schedule.warmup"),
    "logging_steps": Published("log.every"),
    "eval_steps": Published("evaluate.every"),
    "save_steps": Published("checkpoint.every", lambda n: n or UNSET),
    "group_by_length": Published("strategy.group_by_length"),
    "packing": Published("strategy.packing"),
    "max_seq_length": Published("strategy.max_length", lambda n: UNSET if n is None or n < 0 else n),
    "seed": Published("seed"),
}


def usual_places() -> dict[str, str]:
    """Where each published name stands, and each setting's own last word where it is the only one: for errors."""
    words: dict[str, set[str]] = {}
    for published in NAMES.values():
        words.setdefault(published.path.rpartition(".")[2], set()).add(published.path)
    own = {word: min(paths) for word, paths in words.items() if len(paths) == 1}
    return own | {name: published.path for name, published in NAMES.items()}


def to_settings(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings from flat published names; names that are no published one belong to the strategy itself.

    >>> to_settings({"strategy": "dpo", "lora_r": 8, "beta": 0.2, "max_steps": -1})
    {'strategy': {'name': 'dpo', 'tuning': {'r': 8}, 'beta': 0.2}}
    """
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        published = NAMES.get(name, Published(f"strategy.{name}"))
        inward = published.inward(value)
        if inward is not UNSET:
            put(nested, published.path, inward)
    return nested


def to_published(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flat published names from nested settings; a setting of the strategy without a published name keeps its own.

    >>> to_published({"strategy": {"name": "dpo", "tuning": {"r": 8}, "beta": 0.2}, "seed": 3})
    {'beta': 0.2, 'strategy': 'dpo', 'use_lora': True, 'lora_r': 8, 'seed': 3}
    """
    strategy = settings.get("strategy", {})
    groups = {published.path.split(".")[1] for published in NAMES.values() if published.path.startswith("strategy.")}
    flat = {name: value for name, value in strategy.items() if name not in groups or not isinstance(value, Mapping)}
    flat = {name: value for name, value in flat.items() if f"strategy.{name}" not in {p.path for p in NAMES.values()}}
    for name, published in NAMES.items():
        found = list(_at(settings, published.path))
        if found:
            flat[name] = published.outward(found[0])
    if "tuning" in strategy and "name" not in strategy["tuning"]:
        flat["use_lora"] = True
    order = [name for name in flat if name not in NAMES] + [name for name in NAMES if name in flat]
    return {name: flat[name] for name in order}


def put(nested: dict[str, Any], path: str, value: Any) -> None:
    """Sets a value at a dotted path, making the groups above it."""
    *groups, last = path.split(".")
    for group in groups:
        nested = nested.setdefault(group, {})
    nested[last] = value


def _at(nested: Mapping[str, Any], path: str) -> Iterator[Any]:
    value: Any = nested
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return
        value = value[key]
    yield value


def check_names(flat: Mapping[str, Any], own: set[str]) -> None:
    """Raises `SpecError` for flat names that are neither published nor the strategy's own."""
    odd = [name for name in flat if name not in NAMES and name not in own]
    if odd:
        raise SpecError([Problem(name, "is not a setting.", did_you_mean(name, [*NAMES, *own])) for name in odd])
