"""Keras' optimizers by name, with their hyperparameters under the names of their constructors."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from regimen.benchmark.tf.framework import is_installed, keras
from regimen.errors import Problem, SpecError, did_you_mean
from regimen.optim import OptimizerSettings, constructor_parameters, optimizer_class
from regimen.spec import name_alone

ALIASES = {"momentum": "sgd"}


class KerasSettings(OptimizerSettings):
    """An optimizer of Keras and its own hyperparameters; the learning rate is `lr` or, as Keras has it,
    `learning_rate`.
    """

    name: str = "sgd"
    """a class of keras.optimizers in any case (sgd, adamw, ...), `package.module:Class`, or `./file.py:Class`"""

    @model_validator(mode="before")
    @classmethod
    def _one_rate(cls, given: Any) -> Any:
        """In a record the rate has one name, whatever the framework."""
        if not isinstance(given, Mapping) or "learning_rate" not in given:
            return given
        if "lr" in given:
            context = {"problem": "is given besides lr.", "keys": ("learning_rate",), "fix": "Give one of the two."}
            raise PydanticCustomError("optimizer", "{problem}", context)
        return {("lr" if key == "learning_rate" else key): value for key, value in given.items()}

    @property
    def hyperparameters(self) -> dict[str, Any]:
        given = {} if self.lr is None else {"learning_rate": self.lr}
        return given | dict(self.model_extra or {})


def keras_optimizer_class(name: str) -> type:
    """The class for a name. Raises `SpecError` that names the nearest known one."""
    if ":" in name:
        return optimizer_class(name)
    base = keras().optimizers.Optimizer
    classes: dict[str, type] = {
        key.lower(): value
        for key, value in vars(keras().optimizers).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }
    word = name.lower().replace("_", "")
    found = classes.get(ALIASES.get(word, word))
    if found is None:
        fix = did_you_mean(name.lower(), [*classes, *ALIASES])
        raise SpecError(Problem("", f"there is no optimizer {name!r} in keras.optimizers.", fix))
    return found


def _known(settings: KerasSettings) -> KerasSettings:
    """Refuses an unknown optimizer or hyperparameter while the settings are being checked.

    Without TensorFlow nothing can be said about them; such a run is refused for that.
    """
    if not is_installed():
        return settings
    try:
        cls = keras_optimizer_class(settings.name)
    except SpecError as error:
        raise _wrong(error.problems[0].message, "name", error.problems[0].fix) from error
    known = [name for name in constructor_parameters(cls) if name != "name"]
    for name in settings.hyperparameters:
        if name not in known:
            raise _wrong(f"is no hyperparameter of {settings.name}.", name, did_you_mean(name, known))
    return settings


def _wrong(problem: str, key: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError("optimizer", "{problem}", {"problem": problem, "keys": (key,), "fix": fix})


def why_not_made(settings: KerasSettings) -> str | None:
    """What the constructor says against the values of hyperparameters, in a sentence; None if it takes them.

    Making an optimizer is a first use of TensorFlow, after which its threads are fixed.
    """
    cls = keras_optimizer_class(settings.name)
    if not cls.__module__.startswith("keras."):
        return None
    try:
        cls(**settings.hyperparameters)
    except (ValueError, TypeError) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        return f"{settings.name} does not take these: {first}."
    return None


KerasOptimizer = Annotated[KerasSettings, BeforeValidator(name_alone), AfterValidator(_known)]
"""The type of a setting that is an optimizer of Keras."""
