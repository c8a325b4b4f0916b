"""The settings of each way to choose what is tried."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import PydanticCustomError

from regimen.complaints import shown
from regimen.errors import did_you_mean
from regimen.spec import Frozen

Draw = Literal["grid", "random", "halton", "sobol"]


class Grid(Frozen):
    """Every combination of the space's points."""

    name: Literal["grid"] = "grid"


class Listed(Frozen):
    """The settings that are given, one by one."""

    name: Literal["listed"] = "listed"
    settings: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """each with the same settings paths, as in {strategy.optimizer.lr: 0.1}"""


class _Drawn(Frozen):
    trials: Annotated[int, Field(ge=1)]
    """how many settings are tried"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the draws"""


class Random(_Drawn):
    """Independent draws."""

    name: Literal["random"] = "random"


class Halton(_Drawn):
    """A scrambled Halton sequence: evenly spread at any length (Owen, arXiv:1706.02808)."""

    name: Literal["halton"] = "halton"


class Sobol(_Drawn):
    """A scrambled Sobol sequence: evenly spread at powers of two (Owen, 1998)."""

    name: Literal["sobol"] = "sobol"


class Bayesian(_Drawn):
    """A model of what was tried chooses what is tried next; through Optuna (arXiv:1907.10902)."""

    name: Literal["bayesian"] = "bayesian"
    sampler: Literal["gp", "tpe"] = "gp"
    """Gaussian process, for tens of trials; or tree-structured Parzen estimator, for hundreds"""
    startup: Annotated[int, Field(ge=1)] = 8
    """independent draws before the model is asked"""
    batch: Annotated[int, Field(ge=1)] = 1
    """settings that are chosen together and can be tried at the same time; not the number of processes, so that the
    trials do not depend on it
    """


class Halving(Frozen):
    """Successive halving (Jamieson and Talwalkar, arXiv:1502.07943): all settings for a few epochs, the best of them
    for more.
    """

    name: Literal["halving"] = "halving"
    draw: Draw = "grid"
    """where the settings of the first rung come from"""
    trials: Annotated[int, Field(ge=2)] | None = None
    """how many settings are drawn; a grid has its own number"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of the draws"""
    eta: Annotated[float, Field(ge=1.5)] = 4
    """one of so many goes on to the next rung, for so many times the epochs. A small one begins with short runs, which
    favour settings that are fast at first
    """
    min_epochs: Annotated[int, Field(ge=1)] = 1
    """the first rung has at least so many"""
    go_on: bool | None = None
    """train a promoted setting on from its checkpoint instead of from the start; unset: where both give the same
    numbers, which a learning rate that follows the budget rules out
    """


Method = Grid | Listed | Random | Halton | Sobol | Bayesian | Halving
METHODS: dict[str, type[Method]] = {
    "grid": Grid,
    "listed": Listed,
    "random": Random,
    "halton": Halton,
    "sobol": Sobol,
    "bayesian": Bayesian,
    "halving": Halving,
}


def method_settings(value: object) -> Method:
    """The settings of a method from `{name: ..., ...}` or the name alone."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, str):
        value = {"name": value}
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(value, dict) or not isinstance(name, str) or name not in METHODS:
        fix = did_you_mean(name, METHODS) if isinstance(name, str) else f"Known: {', '.join(METHODS)}."
        context = {"problem": f"is {shown(name)}; expected the name of a method.", "fix": fix, "keys": ("name",)}
        raise PydanticCustomError("method", "{problem}", context)
    model = METHODS[name]
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise PydanticCustomError("nested", "{nested}", {"nested": error, "model": model}) from None
