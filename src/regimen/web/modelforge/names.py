"""A training as ModelForge asks for it, in flat names, as the settings of a run; and places of errors back in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field

from regimen.errors import Problem, RegimenError, SpecError, did_you_mean
from regimen.published import NAMES, to_settings
from regimen.web.home import Home
from regimen.web.modelforge.wire import Body
from regimen.web.refusal import Refusal
from regimen.web.services import plugins
from regimen.web.services.parts import Parts

TaskName = Literal["text-generation", "summarization", "extractive-question-answering"]
TASKS: tuple[TaskName, ...] = ("text-generation", "summarization", "extractive-question-answering")
Provider = Literal["huggingface", "unsloth"]
Profile = Literal["low_end", "mid_range", "high_end"]

_WORD = re.compile(r"[A-Za-z]\w{0,99}")
_GROUPS = {path.split(".")[1] for path in (one.path for one in NAMES.values()) if path.count(".") == 2}
"""Groups of a strategy's settings that have flat names here."""
_LORA = {"lora_r", "lora_alpha", "lora_dropout", "target_modules"}
"""Names that mean LoRA, whatever else the strategy would tune by itself."""
_QUANTIZED = {"use_4bit", "use_8bit"}
_QUANTIZING = {name for name, one in NAMES.items() if one.path.startswith("strategy.quantize.")}
"""Mean nothing where both of those are off, and its page sends them all the same."""
_TWO_OF = (("use_4bit", "use_8bit"), ("fp16", "bf16"))
"""Names of one setting: only one of the two can be on."""


class TrainingAsked(Body):
    """ModelForge's training configuration. A name that is absent or null has Regimen's own default.

    A name that is not listed is a setting of the strategy itself, such as `beta` of `dpo`; the server checks it.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"strategy": "sft", "model_name": "tiny", "dataset": "mine.jsonl", "num_train_epochs": 1}]
        },
    )

    model_name: str = Field(min_length=1, max_length=500, description="on the Hub, or a folder of the server's")
    dataset: str = Field(min_length=1, max_length=1000, description="the name of an upload, or a path of the server's")
    strategy: str = Field("sft", min_length=1, max_length=100, description="see /api/info")
    task: TaskName | None = Field(None, description="what the answers are for")
    provider: Provider | None = None
    compute_specs: Profile | None = Field(None, description="is not looked at: the hardware is")
    device: str | None = Field(None, max_length=20, description="auto, cpu, cuda, cuda:0, ...")
    lora_r: int | None = Field(None, ge=1, le=65536)
    lora_alpha: float | None = Field(None, ge=0, le=1e6)
    lora_dropout: float | None = Field(None, ge=0, le=1)
    use_lora: bool | None = Field(None, description="false trains all weights")
    target_modules: str | list[str] | None = Field(None, max_length=1000)
    use_4bit: bool | None = None
    use_8bit: bool | None = None
    bnb_4bit_compute_dtype: str | None = Field(None, max_length=20)
    bnb_4bit_quant_type: str | None = Field(None, max_length=20)
    use_nested_quant: bool | None = None
    fp16: bool | None = None
    bf16: bool | None = None
    num_train_epochs: float | None = Field(None, ge=-1, le=1e6, description="-1: not limited")
    max_steps: int | None = Field(None, ge=-1, le=10**9, description="-1: not limited; with epochs, what comes first")
    per_device_train_batch_size: int | None = Field(None, ge=1, le=65536)
    per_device_eval_batch_size: int | None = Field(None, ge=1, le=65536)
    gradient_accumulation_steps: int | None = Field(None, ge=1, le=65536)
    gradient_checkpointing: bool | None = None
    max_grad_norm: float | None = Field(None, ge=0, le=1e6, description="0: gradients are not clipped")
    learning_rate: float | None = Field(None, ge=0, le=1000)
    weight_decay: float | None = Field(None, ge=0, le=1000)
    optim: str | None = Field(None, max_length=100)
    lr_scheduler_type: str | None = Field(None, max_length=100)
    warmup_ratio: float | None = Field(None, ge=0, le=1)
    logging_steps: int | None = Field(None, ge=1, le=10**9)
    eval_steps: int | None = Field(None, ge=1, le=10**9)
    save_steps: int | None = Field(None, ge=0, le=10**9, description="0: as usual")
    group_by_length: bool | None = None
    packing: bool | None = None
    max_seq_length: int | None = Field(None, ge=-1, le=10**7, description="-1: what the model takes")
    eval_split: float | None = Field(None, ge=0, lt=1, description="part of the rows that are not trained")
    seed: int | None = Field(None, ge=0, lt=2**63)


def settings_of(parts: Parts, asked: TrainingAsked) -> dict[str, Any]:
    """The settings of the run. Raises `SpecError` with every name that cannot be one, `Refusal` for the strategy."""
    flat = {name: value for name, value in asked.model_dump(exclude_unset=True).items() if value is not None}
    problems = list(_wrong(flat))
    if problems:
        raise SpecError(problems)
    flat.pop("compute_specs", None)
    device = flat.pop("device", None)
    flat |= {"strategy": strategy_named(parts, asked.strategy), "dataset": path_of(parts.home, asked.dataset)}
    is_whole = _QUANTIZED & flat.keys() and not any(flat.get(name) for name in _QUANTIZED)
    settings = to_settings({name: value for name, value in flat.items() if not (is_whole and name in _QUANTIZING)})
    if is_whole:
        settings["strategy"]["quantize"] = None
    settings["task"]["name"] = "text"
    if flat.get("use_lora", bool(_LORA & flat.keys())):
        settings["strategy"].setdefault("tuning", {}).setdefault("name", "lora")
    return settings | ({"device": device} if device is not None else {})


_NO_SETTING = "is not a setting."


def _wrong(flat: Mapping[str, Any]) -> list[Problem]:
    problems = []
    for name in flat:
        if name in NAMES or name in TrainingAsked.model_fields:
            continue
        if name in _GROUPS or name == "name":
            problems.append(Problem(name, "has flat names here.", "Give learning_rate, lora_r, warmup_ratio, ..."))
        elif not _WORD.fullmatch(name):
            problems.append(Problem(name[:100], "is no name of a setting.", did_you_mean(name[:100], NAMES)))
    lora = sorted(_LORA & flat.keys())
    if lora and not flat.get("use_lora", True):
        problems.append(Problem("use_lora", f"is false, and {', '.join(lora)} would mean nothing.", "Remove one."))
    for one, other in _TWO_OF:
        if flat.get(one) and flat.get(other):
            problems.append(Problem(one, f"and {other} are both true.", "Choose one of the two."))
    return problems


def strategy_named(parts: Parts, name: str) -> str:
    """Its registered name, upper and lower case alike. Raises `Refusal` that lists those there are."""
    known = [plugin.name for plugin in plugins.listed(parts, ("finetune",)).plugins]
    for one in known:
        if one.casefold() == name.casefold():
            return one
    fix = f"{did_you_mean(name, known)} Available strategies: {', '.join(known)}."
    raise Refusal(422, "", f"Unknown strategy: {name}.", fix)


def path_of(home: Home, dataset: str) -> str:
    """A data file as settings name it: that of an upload by its name alone, else the path as it is given."""
    is_name = "/" not in dataset and "\\" not in dataset and not dataset.startswith(".") and len(dataset.encode()) < 256
    if is_name and "\x00" not in dataset and (home.datasets / dataset).is_file():
        return f"datasets/{dataset}"
    return dataset


def in_flat_names(error: RegimenError) -> RegimenError:
    """The same error, its places in the names that were asked with; what it says stays."""
    flat = {published.path: name for name, published in NAMES.items()}
    problems = []
    for place, message, fix in error.problems:
        path = place.split(" ")[-1]
        own = path.removeprefix("strategy.") if path.count(".") == 1 else path
        near = did_you_mean(own, NAMES)
        if message == _NO_SETTING and path == f"strategy.{own}" and near.startswith("Did you mean"):
            fix = near
        problems.append(Problem(flat.get(path, own), message, fix))
    error.problems = tuple(problems)
    error.args = ("\n".join(map(str, problems)),)
    return error
