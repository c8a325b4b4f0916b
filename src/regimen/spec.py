"""A run as settings: what `run.yaml` may hold, the budget, and what of it identifies a run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Self, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from regimen.events import SCHEMA_VERSION


class Frozen(BaseModel):
    """A group of settings: unknown keys are errors, values cannot change after checking."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: object, info: ValidationInfo) -> object:
        """Refuses what pydantic would convert in silence: `"2"` and `true` are no numbers, `yes` is a word, 1 is no
        truth.
        """
        field = cls.model_fields[str(info.field_name)]
        kinds = _plain_types(field.annotation)
        if isinstance(value, bool):
            wrong = bool(kinds & {int, float}) and not kinds & {bool, Any}
        elif isinstance(value, str):
            wrong = bool(kinds) and kinds <= {int, float, bool} and not any(map(_reads_itself, field.metadata))
        else:
            wrong = isinstance(value, int | float) and kinds == {bool}
        if wrong:
            raise PydanticCustomError("as_written", "{kinds}", {"kinds": sorted(kind.__name__ for kind in kinds)})
        return value


def _reads_itself(part: object) -> bool:
    """Whether a setting has a validator of its own that may turn text into a number, such as `1h`."""
    return isinstance(part, BeforeValidator | WrapValidator | PlainValidator)


def _plain_types(annotation: Any) -> frozenset[Any]:
    """The types that a setting's annotation allows, alternatives one by one, without `None`."""
    if get_origin(annotation) in (Union, UnionType):
        return frozenset[Any]().union(*(_plain_types(part) for part in get_args(annotation)))
    if get_origin(annotation) is Annotated:
        return _plain_types(get_args(annotation)[0])
    return frozenset() if annotation in (None, NoneType) else frozenset({annotation})


class Choice(Frozen):
    """A plug-in by name, with its settings beside the name: `{name: lora, r: 16}`, or the name alone."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str


def name_alone(value: object) -> object:
    """`lora` means `{name: lora}`."""
    return {"name": value} if isinstance(value, str) else value


class Progress(NamedTuple):
    """How much has been spent, in each unit that a budget can limit."""

    steps: int = 0
    epochs: float = 0.0
    passes: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Budget(Frozen):
    """When to stop: whichever limit comes first. Outside the strategy, so that two can be compared at equal cost."""

    epochs: Annotated[float, Field(gt=0)] | None = None
    """passes over the training split; 0.5 is half of one"""
    steps: Annotated[int, Field(gt=0)] | None = None
    """updates of the weights"""
    passes: Annotated[int, Field(gt=0)] | None = None
    """forward-and-backward passes of a batch; a step of several paths or micro-batches counts each"""
    tokens: Annotated[int, Field(gt=0)] | None = None
    """tokens read (fine-tuning), padding not counted"""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """wall time of training, evaluations included; a run limited by it is not repeatable"""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if not self.limits():
            context = {"problem": "sets no limit.", "fix": "Give one of epochs, steps, passes, tokens, seconds."}
            raise PydanticCustomError("budget", "{problem}", context)
        return self

    def limits(self) -> dict[str, float]:
        """The limits that are set, by unit."""
        return self._limits

    @cached_property
    def _limits(self) -> dict[str, float]:  # asked for several times a step
        return {unit: limit for unit in Progress._fields if (limit := getattr(self, unit)) is not None}

    def fraction(self, spent: Progress) -> float:
        """How much of the budget is spent, 0 to 1; schedules follow it. An unlimited budget stays at 0.

        >>> Budget(steps=10, epochs=1).fraction(Progress(steps=5, epochs=0.2))
        0.5
        """
        return min(1.0, max([getattr(spent, unit) / limit for unit, limit in self._limits.items()], default=0.0))

    def exhausted(self, spent: Progress) -> bool:
        return any(getattr(spent, unit) >= limit for unit, limit in self._limits.items())


class CheckpointSettings(Frozen):
    """When checkpoints are written, which are kept, and which one is the result."""

    every: Annotated[int, Field(gt=0)] = 100
    """steps between checkpoints; one more is written at the end and when a run is stopped"""
    keep: Annotated[int, Field(ge=1)] = 2
    """how many of the newest are kept; the best one and the last good one are kept besides"""
    best: str | None = None
    """a metric such as `valid/loss`: the checkpoint where it was best is kept, and its weights are what is left"""
    mode: Literal["min", "max"] = "min"
    """whether `best` is better when smaller or larger"""
    patience: Annotated[int, Field(ge=1)] | None = None
    """stop early after this many evaluations without a better `best`"""

    @model_validator(mode="after")
    def _waits_for_something(self) -> Self:
        if self.patience is not None and self.best is None:
            problem, fix = "needs `checkpoint.best`: what is to get better?", "Set it to a metric such as valid/loss."
            raise PydanticCustomError("patience", "{problem}", {"problem": problem, "keys": ("patience",), "fix": fix})
        return self


class EvaluateSettings(Frozen):
    every: Annotated[int, Field(gt=0)] | None = None
    """steps between evaluations; unset: at the end of each epoch. The untrained and the final model are always
    evaluated
    """
    max_rows: Annotated[int, Field(gt=0)] | None = None
    """use only the first so many rows of a split; unset: all"""


class LogSettings(Frozen):
    every: Annotated[int, Field(gt=0)] = 10
    """steps between recorded training metrics"""


class RunSettings(Frozen):
    """What a run is told besides its task and its strategy."""

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    """of this description"""
    budget: Budget = Budget(epochs=1)
    """when to stop, whichever limit comes first; unset: the epochs that a test problem is known for, else one"""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """all randomness of a run comes from it"""
    evaluate: EvaluateSettings = EvaluateSettings()
    """when the model is evaluated"""
    checkpoint: CheckpointSettings = CheckpointSettings()
    """what is kept to resume from, and which weights are the result"""
    log: LogSettings = LogSettings()
    """what is recorded while training"""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """auto, cpu, mps, cuda or cuda:N; auto takes the first GPU if there is one"""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """of forward and backward passes (weights stay in fp32); auto is bf16 on a GPU that has it, else fp32"""
    deterministic: bool = False
    """on a GPU, use only kernels that give the same bits every time, so that a resume is exact there, too; slower. On a
    CPU it always is
    """
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads of the training process; unset: PyTorch's own choice"""
    workers: Annotated[int, Field(ge=0)] = 0
    """processes that prepare batches; the result is the same for any number"""
    output: Path = Path("runs")
    """the folder that holds all runs"""


class RunSpec(RunSettings):
    """One run: a strategy training a task within a budget."""

    task: Annotated[Choice, BeforeValidator(name_alone)]
    """model, data and yardstick"""
    strategy: Annotated[Choice, BeforeValidator(name_alone)]
    """how it is trained"""


UNIDENTIFYING = ("output", "log", "checkpoint.every", "checkpoint.keep", "workers", "schema_version", "task.data_dir")
"""Settings that do not change what is computed: no part of a run's content hash, free to change on a resume. Files have
a fingerprint of their own, wherever they lie.
"""


def differing(spec: BaseModel, default: BaseModel | None = None) -> dict[str, object]:
    """The settings that differ from their defaults, as dotted paths; they name a run's folder."""
    found: dict[str, object] = {}
    for name, info in type(spec).model_fields.items():
        value = getattr(spec, name)
        usual = getattr(default, name, None) if default is not None else info.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            same = isinstance(usual, type(value)) and getattr(usual, "name", None) == getattr(value, "name", None)
            if not same and hasattr(value, "name") and getattr(usual, "name", None) != value.name:
                found[f"{name}"] = value.name
            found |= {
                f"{name}.{path}": v for path, v in differing(value, usual if same else None).items() if path != "name"
            }
        elif value != usual:
            found[name] = value
    return found | dict(spec.model_extra or {})


def changed_settings(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[object, object]]:
    """Dotted paths whose values differ between two dumped specs, with both values; absent is None."""
    found: dict[str, tuple[object, object]] = {}
    for key in dict.fromkeys([*old, *new]):
        before, after, path = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= changed_settings(before, after, f"{path}.")
        elif before != after:
            found[path] = (before, after)
    return found


def identifying(dumped: Mapping[str, Any]) -> dict[str, Any]:
    """A dumped spec without the settings that do not change what is computed."""
    kept: dict[str, Any] = copy.deepcopy(dict(dumped))
    for dotted in UNIDENTIFYING:
        parent, _, key = dotted.rpartition(".")
        (kept.get(parent, {}) if parent else kept).pop(key, None)
    return kept
