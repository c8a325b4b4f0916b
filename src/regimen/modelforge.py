"""ModelForge's published names, for a strategy file written for it: only its imports change.

    from regimen.modelforge import Trainer, TrainingArguments, TrainingError, TrainingStrategy, create_strategy, logger

`TrainingArguments` and `Trainer` are transformers' own, and take what transformers has renamed or dropped since, too;
each translation is noted in the run's record, or logged where there is no run. Inside a run, `Trainer.train` goes
through the run: its budget, record, checkpoints and stops.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, overload

import transformers
from transformers import DataCollatorForSeq2Seq
from transformers.trainer_utils import IntervalStrategy

from regimen.errors import SpecError, TrainingError
from regimen.finetune.foreign.adapter import CURRENT
from regimen.finetune.foreign.arguments import fit
from regimen.finetune.foreign.stages import TOKENS, as_dataset
from regimen.finetune.strategy import TrainingStrategy
from regimen.registry import find, plugins, register, unregister

__all__ = [
    "STRATEGY_REGISTRY",
    "VALID_STRATEGIES",
    "Trainer",
    "TrainingArguments",
    "TrainingError",
    "TrainingStrategy",
    "create_strategy",
    "logger",
]

logger = logging.getLogger("regimen.modelforge")

_FAMILY = "finetune"


class _Registry(MutableMapping[str, type]):
    """The finetune family of the one registry, from name to class. Case does not count; assigning registers."""

    def __getitem__(self, name: str) -> type:
        wanted = name.lower()
        for plugin in plugins(_FAMILY):
            if plugin.name.lower() == wanted:
                return plugin.load()
        raise KeyError(name)

    def __setitem__(self, name: str, cls: type) -> None:
        register(_FAMILY, name, cls)

    def __delitem__(self, name: str) -> None:
        unregister(_FAMILY, name)

    def __iter__(self) -> Iterator[str]:
        return (plugin.name for plugin in plugins(_FAMILY))

    def __len__(self) -> int:
        return len(plugins(_FAMILY))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(known.lower() == name.lower() for known in self)

    def __repr__(self) -> str:
        return f"STRATEGY_REGISTRY({list(self)})"


class _Names(Sequence[str]):
    """The registry's names at the moment of asking."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return list(STRATEGY_REGISTRY)[index]

    def __len__(self) -> int:
        return len(STRATEGY_REGISTRY)

    def __contains__(self, name: object) -> bool:
        return name in STRATEGY_REGISTRY

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


STRATEGY_REGISTRY: MutableMapping[str, type] = _Registry()
VALID_STRATEGIES: Sequence[str] = _Names()


def create_strategy(strategy_name: str, **settings: Any) -> TrainingStrategy:
    """A fresh strategy with its default settings, or those given. Raises `ValueError` listing the known names.

    >>> create_strategy("SFT").get_strategy_name()
    'sft'
    """
    from pydantic import ValidationError

    if strategy_name not in STRATEGY_REGISTRY:
        raise SpecError(f"Unknown strategy: {strategy_name}. Available strategies: {', '.join(STRATEGY_REGISTRY)}.")
    plugin = find(strategy_name, (_FAMILY,))
    try:
        made: TrainingStrategy = plugin.make(plugin.settings().model_validate({"name": plugin.name, **settings}))
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(f"{plugin.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    return made


# ------------------------------------------------------------------------------------------------- translations


def _note(text: str) -> None:
    adapter = CURRENT.get()
    if adapter is None:
        logger.warning(text)
    else:
        adapter.note(text)


def _translated(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ModelForge's transformers (4.48) as those of the one installed."""
    now = dict(given)
    moved = {"evaluation_strategy": "eval_strategy"}
    for old, new in moved.items():
        if old in now:
            now[new] = now.pop(old)
            _note(f"TrainingArguments({old}=...) is {new} in this transformers.")
    if "warmup_ratio" in now:
        ratio = now.pop("warmup_ratio")
        if not now.get("warmup_steps"):  # transformers takes a part below 1 for a ratio
            now["warmup_steps"] = float(ratio)
        _note("TrainingArguments(warmup_ratio=...) is warmup_steps below 1 in this transformers.")
    if "group_by_length" in now:
        if now.pop("group_by_length"):
            now.setdefault("train_sampling_strategy", "group_by_length")
        _note(
            "TrainingArguments(group_by_length=True) is train_sampling_strategy='group_by_length' in this transformers."
        )
    for gone, why in (
        ("logging_dir", "nothing is written there"),
        ("use_cache", "it belongs to the model, which sets it itself when training"),
    ):
        if gone in now:
            del now[gone]
            _note(f"TrainingArguments({gone}=...) is no argument of this transformers: {why}.")
    return now


class TrainingArguments(transformers.TrainingArguments):  # type: ignore[misc]
    """transformers' own, with warmup_ratio, evaluation_strategy, group_by_length, logging_dir and use_cache besides.

    What this machine cannot do (bf16 without a GPU) is turned off, and noted.
    """

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **_translated(given))

    def __post_init__(self) -> None:
        if CURRENT.get() is None:
            fit(self, _note)
        super().__post_init__()


class Trainer(transformers.Trainer):  # type: ignore[misc]
    """transformers' own, which also takes `tokenizer`, a slice of a data set (`dataset[:10]`), and rows of text.

    Rows without tokens are tokenized as the default `prepare_dataset` does. Inside a run, `train()` is the run's.
    """

    def __init__(self, *args: Any, tokenizer: Any = None, **given: Any) -> None:
        if tokenizer is not None:
            given.setdefault("processing_class", tokenizer)
            _note("Trainer(tokenizer=...) is processing_class in this transformers.")
        for split in ("train_dataset", "eval_dataset"):
            given[split], made = _in_tokens(given.get(split), given.get("processing_class"))
            if made and given.get("data_collator") is None:
                given["data_collator"] = DataCollatorForSeq2Seq(given["processing_class"])
        arguments = given.get("args")
        if (
            given.get("eval_dataset") is None
            and arguments is not None
            and arguments.eval_strategy != IntervalStrategy.NO
        ):
            arguments.eval_strategy = IntervalStrategy.NO  # 4.48 took this, too; step 4 of the page passes none
            _note("TrainingArguments.eval_strategy is off: there is no eval_dataset.")
        super().__init__(*args, **given)

    def train(self, *args: Any, **given: Any) -> Any:
        adapter = CURRENT.get()
        if adapter is None or adapter.busy:
            return super().train(*args, **given)
        return adapter.train(self)


def _in_tokens(data: Any, tokenizer: Any) -> tuple[Any, bool]:
    """The data set, and whether it had to be tokenized."""
    from regimen.finetune.preparing import tokenized_by_hand

    data = as_dataset(data)
    columns = set(getattr(data, "column_names", None) or TOKENS)
    if data is None or tokenizer is None or TOKENS & columns:
        return data, False
    strategy = CURRENT.get().strategy if CURRENT.get() else create_strategy("sft")  # type: ignore[union-attr]
    return tokenized_by_hand(strategy, data, tokenizer).dataset.remove_columns("row"), True
