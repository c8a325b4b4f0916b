"""Optimizers by name and learning-rate schedules as functions of the budget spent."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import math
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from regimen.errors import Problem, SpecError, did_you_mean
from regimen.spec import Choice, Frozen, name_alone

if TYPE_CHECKING:
    import torch

ALIASES = {
    "adamw_torch": "adamw",
    "adamw_hf": "adamw",
    "adamw_torch_fused": "adamw",
    "momentum": "sgd",
    "adamw_8bit": "bitsandbytes.optim:AdamW8bit",
    "adamw_bnb_8bit": "bitsandbytes.optim:AdamW8bit",
    "paged_adamw_8bit": "bitsandbytes.optim:PagedAdamW8bit",
    "paged_adamw_32bit": "bitsandbytes.optim:PagedAdamW32bit",
    "paged_adamw": "bitsandbytes.optim:PagedAdamW32bit",
    "lion_8bit": "bitsandbytes.optim:Lion8bit",
    "lion_32bit": "bitsandbytes.optim:Lion",
}
"""Names that transformers and ModelForge use."""

PAGED = {"paged_adamw_8bit": "adamw_8bit", "paged_adamw_32bit": "adamw", "paged_adamw": "adamw"}
"""What a paged optimizer is without a GPU: paging moves states between GPU and host memory, so it means nothing
there.
"""


class OptimizerSettings(Choice):
    """An optimizer and its own hyperparameters, under the names of its constructor."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str = "adamw"
    """a class of torch.optim in any case (adamw, sgd, ...), `package.module:Class`, or `./file.py:Class`"""
    lr: Annotated[float, Field(gt=0)] | None = None
    """learning rate; unset: the optimizer's own default"""

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the constructor gets besides the parameters."""
        given = {} if self.lr is None else {"lr": self.lr}
        return given | dict(self.model_extra or {})

    def hyperparameters_over(self, parameters: Iterable[Any]) -> dict[str, Any]:
        """The hyperparameters, those that are optimizers themselves (`base: {name: sgd, lr: 0.1}`) made over the same
        parameters.
        """
        parameters = list(parameters)
        return {
            name: make_optimizer(OptimizerSettings(**value), parameters) if _is_optimizer(value) else value
            for name, value in self.hyperparameters.items()
        }


def _is_optimizer(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def _known_hyperparameters(settings: OptimizerSettings) -> OptimizerSettings:
    """Refuses an unknown optimizer or hyperparameter while the settings are being checked, not after the model is
    loaded.
    """
    if settings.name == "adamw" and not settings.model_extra:
        return settings  # the common case, known without importing torch
    try:
        cls = optimizer_class(settings.name)
    except SpecError as error:
        problem = error.problems[0]
        raise PydanticCustomError(
            "optimizer", "{problem}", {"problem": problem.message, "keys": ("name",), "fix": problem.fix}
        ) from error
    known, takes_more = constructor_parameters(cls), takes_any(cls)
    for name, value in settings.hyperparameters.items():
        if _is_optimizer(value):
            _known_hyperparameters(OptimizerSettings(**value))
        if name not in known and not takes_more:
            text = f"is no hyperparameter of {settings.name}."
            raise PydanticCustomError(
                "optimizer", "{problem}", {"problem": text, "keys": (name,), "fix": did_you_mean(name, known)}
            )
    _try(settings)
    return settings


def _try(settings: OptimizerSettings) -> None:
    """Makes PyTorch's optimizer over one number, so that a value that its constructor refuses is known now, not after
    the model is loaded.
    """
    import torch

    cls, given = optimizer_class(settings.name), settings.hyperparameters
    if not cls.__module__.startswith("torch."):
        return

    def reason(**hyperparameters: Any) -> str | None:
        try:
            cls([torch.nn.Parameter(torch.zeros(1))], **hyperparameters)
        except (ValueError, RuntimeError) as error:
            return str(error).rstrip(".")
        except TypeError:  # its words are about Python's operators
            return "it is of the wrong type"
        return None

    rate = {} if settings.lr is None else {"lr": settings.lr}
    text = reason(**given)
    if text is None:
        return
    guilty = [name for name, value in given.items() if reason(**{**rate, name: value}) is not None]
    value = f" is {given[guilty[0]]!r};" if guilty else ""
    problem = f"{value} {settings.name} does not take it: {text}.".strip()
    raise PydanticCustomError("optimizer", "{problem}", {"problem": problem, "keys": tuple(guilty[:1])})


Optimizer = Annotated[OptimizerSettings, BeforeValidator(name_alone), AfterValidator(_known_hyperparameters)]
"""The type of a setting that is an optimizer: `optimizer: Optimizer = OptimizerSettings(lr=2e-4)`."""


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class for a name. Raises `SpecError` that names the nearest known one."""
    import torch

    name = ALIASES.get(name.lower(), name)
    if ":" in name:
        return _imported(name)
    classes = {
        key.lower(): value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
    }
    classes.pop("optimizer")
    found = classes.get(name.lower().replace("_", ""))
    if found is None:
        raise SpecError(
            Problem(
                "", f"there is no optimizer {name!r} in torch.optim.", did_you_mean(name.lower(), [*classes, *ALIASES])
            )
        )
    return found


def _imported(name: str) -> type[torch.optim.Optimizer]:
    module, _, attribute = name.rpartition(":")
    try:
        path = Path(module)
        loaded = _from_file(path, path.stat().st_mtime_ns) if path.suffix == ".py" else importlib.import_module(module)
        found: type[torch.optim.Optimizer] = getattr(loaded, attribute)
    except Exception as error:  # a file of the user's may raise anything
        text = f"the optimizer {name!r} cannot be imported: {type(error).__name__}: {error}."
        raise SpecError(Problem("", text, "Give package.module:Class or ./file.py:Class.")) from error
    return found


@functools.lru_cache(maxsize=32)
def _from_file(path: Path, changed_ns: int) -> ModuleType:
    """The module in a file, run once for each version of it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def constructor_parameters(cls: type) -> list[str]:
    """The hyperparameters that an optimizer's constructor names."""
    taken = inspect.signature(cls).parameters.values()
    return [p.name for p in taken if p.name != "params" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def takes_any(cls: type) -> bool:
    """Whether a constructor takes hyperparameters that it does not name."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())


def make_optimizer(
    settings: OptimizerSettings, parameters: Iterable[Any], *, on_gpu: bool = False, partial: bool = False
) -> torch.optim.Optimizer:
    """The optimizer over parameters or parameter groups.

    AdamW, Adam and SGD use PyTorch's fused kernels, which compute the same update in one pass over the memory; not so
    SGD where steps are `partial`, some parameters without a gradient: its fused kernel cannot begin their momentum.
    """
    name = settings.name if on_gpu else PAGED.get(settings.name.lower(), settings.name)
    cls = optimizer_class(name)
    parameters = list(parameters)
    hyperparameters = settings.hyperparameters_over(parameters)
    around = any(hasattr(value, "param_groups") for value in hyperparameters.values())
    if around and "params" not in inspect.signature(cls).parameters:
        return cls(**hyperparameters)  # it takes its parameters from the optimizer that it is around
    fused = ("AdamW", "Adam") if partial else ("AdamW", "Adam", "SGD")
    if cls.__name__ in fused and not {"fused", "foreach"} & hyperparameters.keys():
        hyperparameters["fused"] = True
    return cls(parameters, **hyperparameters)


class Schedule(Frozen):
    """How the learning rate moves over the budget, as a factor of the optimizer's own rate; `cosine` alone will do."""

    _name_alone = model_validator(mode="before")(name_alone)

    name: Literal["constant", "linear", "cosine"] = "cosine"
    """after the warm-up: stay, fall in a line, or fall along half a cosine"""
    warmup: Annotated[float, Field(ge=0)] = 0.03
    """the part of the budget (below 1), or the number of steps (1 and more), over which the rate rises from 0"""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    """the factor at the end"""

    def factor(self, step: int, before: float, after: float, epochs: float = 0.0) -> float:
        """For step `step` (from 0), which takes the spent part of the budget from `before` to `after` (0 to 1).
        `epochs`, those before the step, play no part here.

        The first step of a warm-up is not wasted on a rate of zero.

        >>> schedule = Schedule(name="linear", warmup=0.2)
        >>> [round(schedule.factor(k, k / 10, (k + 1) / 10), 3) for k in range(10)]
        [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
        """
        if self.warmup >= 1:
            rise, warm = min(1.0, (step + 1) / self.warmup), min(1.0, after * self.warmup / (step + 1))
        else:
            rise, warm = (min(1.0, after / self.warmup) if self.warmup and after > 0 else 1.0), self.warmup
        if self.name == "constant" or rise < 1.0:
            return rise
        part = max(0.0, before - warm) / (1.0 - warm) if warm < 1 else 0.0
        fall = 1.0 - part if self.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * part))
        return self.floor + (1.0 - self.floor) * fall
