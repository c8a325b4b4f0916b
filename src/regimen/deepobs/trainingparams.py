"""The training parameters of a runner class: what its `training` takes besides the problem, and what its hooks read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo

from regimen.benchmark import runner as strategy
from regimen.deepobs.commandline import Parser
from regimen.settings import settings_model

if TYPE_CHECKING:
    from regimen.deepobs.runner import Runner

_OTHER = ("name", "optimizer", "optimizer_name")


def training_parameters(cls: type[Runner]) -> Mapping[str, FieldInfo]:
    """By name, as the registry sees them."""
    model = settings_model(cls, strategy.Runner, name=cls.__name__, path=Path(inspect.getfile(strategy)))
    return {name: field for name, field in model.model_fields.items() if name not in _OTHER}


def declare_hooked(cls: type[Runner]) -> None:
    """Makes settings of the training parameters that a class adds to argparse only, its loop taking
    `**training_params`, so that they can be given in a description, too.

    A hook that needs more than the class itself declares nothing; then its loop has to name what it takes.
    """
    if "_add_training_params_to_argparse" not in vars(cls):
        return
    parser = Parser()
    try:
        cls.__new__(cls)._add_training_params_to_argparse(parser, {}, {})
    except Exception:  # noqa: BLE001 - a user's code, called before its object is there; see above
        return
    taken = {*inspect.signature(cls.training).parameters, *dir(cls)}
    found = {action.dest: action for action in parser._actions if action.dest not in taken | {"help"}}
    cls.__annotations__ = inspect.get_annotations(cls) | {
        name: Annotated[Any, Field(description=action.help or "training parameter")] for name, action in found.items()
    }
    for name, action in found.items():
        if not action.required:
            setattr(cls, name, action.default)
