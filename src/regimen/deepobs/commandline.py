"""The command line of a runner's own script: DeepOBS' flags, one for each hyperparameter and training parameter."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, get_args, get_origin

from pydantic.fields import FieldInfo

from regimen.errors import Problem, SpecError

Specification = Mapping[str, Any]
"""Of a hyperparameter: `{"type": float}`, `{"type": bool, "default": False}`."""

_FLAGS: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "testproblem": (("testproblem",), {"help": "the test problem's name"}),
    "weight_decay": (("--weight_decay", "--wd"), {"type": float, "help": "factor of the problem's own penalty"}),
    "batch_size": (("--batch_size", "--bs"), {"type": int, "help": "rows a step; unset: the problem's own"}),
    "num_epochs": (("-N", "--num_epochs"), {"type": int, "help": "epochs to train; unset: the problem's own"}),
    "random_seed": (("-r", "--random_seed"), {"type": int, "default": 42, "help": "all randomness comes from it"}),
    "data_dir": (("--data_dir",), {"help": "folder of the data files"}),
    "output_dir": (("--output_dir",), {"default": "./results", "help": "folder of the results"}),
    "no_logs": (("--no_logs",), {"action": "store_true", "help": "leave no files"}),
    "train_log_interval": (("--train_log_interval",), {"type": int, "default": 10, "help": "steps between losses"}),
    "print_train_iter": (("--print_train_iter",), {"action": "store_true", "help": "print these losses"}),
    "tb_log": (("--tb_log",), {"action": "store_true", "help": "write them for TensorBoard, too"}),
    "tb_log_dir": (("--tb_log_dir",), {"help": "where to; unset: the folder of the results"}),
    "optimizer_name": (("--optimizer_name",), {"help": "the optimizer's name in the results"}),
}
_PLAIN = (bool, int, float, str)
STANDARD = tuple(_FLAGS)
"""What every run is told besides hyperparameters and training parameters."""


class Parser(argparse.ArgumentParser):
    """One that raises `SpecError` where argparse would print and exit."""

    def __init__(self) -> None:
        super().__init__(description="Trains a test problem with an optimizer.", allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        fix = "Give them to run(...), or on the command line of a script (--help lists all flags)."
        raise SpecError(Problem(Path(self.prog).name, f"{message}.", fix))


def standard_arguments(parser: argparse.ArgumentParser, args: dict[str, Any]) -> None:
    """Adds DeepOBS' flags for what `args` does not say yet; what is None there is taken out and asked for."""
    for name in [name for name, value in args.items() if value is None]:
        del args[name]
    for name, (words, options) in _FLAGS.items():
        if name not in args:
            parser.add_argument(*words, **options)


def hyperparameter_word(name: str) -> str:
    """The flag of a hyperparameter, without its dashes.

    A name that DeepOBS' own flags have gets `optimizer_` in front: AdamW's `weight_decay` is not the problem's.
    """
    return f"optimizer_{name}" if name in STANDARD else name


def add_hyperparameter(parser: argparse.ArgumentParser, name: str, specification: Specification) -> None:
    """Adds the flag of one hyperparameter; without a default it is required."""
    default = specification.get("default")
    kind = specification.get("type", type(default) if default is not None else str)
    required = "default" not in specification
    add_flag(parser, hyperparameter_word(name), kind, default, required=required, text="hyperparameter")


def add_flag(
    parser: argparse.ArgumentParser, name: str, kind: Any, default: object, *, required: bool = False, text: str = ""
) -> None:
    """Adds one flag: `--x/--no-x` for truth values, several values for lists."""
    shown = text if required or default is None else f"{text} (unset: {default})"
    options: dict[str, Any] = {"help": shown, "required": required}
    if not required:
        options["default"] = default
    if kind is bool:
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, **options)
    elif kind in (list, tuple) or isinstance(default, list | tuple):
        element = type(default[0]) if isinstance(default, list | tuple) and default else float
        parser.add_argument(f"--{name}", nargs="+", type=element, **options)
    else:
        parser.add_argument(f"--{name}", type=kind, **options)


def add_setting(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    """Adds the flag of a training parameter, by the type of its setting or of its default."""
    required = field.is_required()
    default = None if required else field.default
    kinds = [kind for kind in _PLAIN if kind in _parts(field.annotation)]
    text = field.description or "training parameter"
    if list in _parts(field.annotation) and not default:
        element = kinds[0] if kinds else float
        options = {"required": True} if required else {"default": default}
        parser.add_argument(f"--{name}", nargs="+", type=element, help=text, **options)
        return
    kind = kinds[0] if kinds else type(default) if default is not None else str
    add_flag(parser, name, kind, default, required=required, text=text)


def _parts(annotation: Any) -> set[Any]:
    """The types that an annotation is made of: of `list[int] | None` list, int and NoneType."""
    inner = set[Any]().union(*(_parts(part) for part in get_args(annotation)))
    return {get_origin(annotation) or annotation} | inner


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> dict[str, Any]:
    """The values of all flags; None for `argv` means that nobody typed any. Raises `SpecError`."""
    return vars(parser.parse_args([] if argv is None else list(argv)))


def script_arguments(frame: FrameType | None) -> list[str] | None:
    """The arguments of the command line if the caller is the script that was started, else None.

    Not under pytest, in a notebook, or in a module that a script imports: their arguments are not for a runner.
    """
    caller = _caller(frame)
    if caller is None or caller.get("__name__") != "__main__" or not caller.get("__file__") or not sys.argv:
        return None
    return sys.argv[1:] if Path(sys.argv[0]).resolve() == Path(caller["__file__"]).resolve() else None


def _caller(frame: FrameType | None) -> dict[str, Any] | None:
    """The global names of the nearest frame outside this package."""
    while frame is not None:
        if not str(frame.f_globals.get("__name__", "")).startswith("regimen."):
            return frame.f_globals
        frame = frame.f_back
    return None


def loading_as_plugin(frame: FrameType | None) -> str | None:
    """The file that is just being loaded by the registry and calls us, if there is one."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and str(frame.f_globals.get("__name__")).startswith("regimen_plugin_"):
            return frame.f_code.co_filename
        frame = frame.f_back
    return None
