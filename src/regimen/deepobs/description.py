"""What `run(...)` was told, as the description of a run that `regimen run` understands."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regimen.deepobs.arguments import Arguments
from regimen.errors import RegimenError
from regimen.registry import describe, find, register, unregister
from regimen.syntax import syntax_tree

if TYPE_CHECKING:
    from regimen.deepobs.runner import Runner

FAMILY = "benchmark"
LIVE: ContextVar[Runner | None] = ContextVar("LIVE", default=None)
"""The runner whose `run` was called: it is the one that trains, with whatever state its author gave it."""


@contextmanager
def live(runner: Runner) -> Iterator[None]:
    """Makes `runner` the one that trains, instead of a new object of its class, and its class one that is found."""
    cls = type(runner)
    by_hand = not cls.is_facade_of and _file(cls) is None
    if by_hand:
        register(FAMILY, cls.__name__, cls)
    token = LIVE.set(runner)
    try:
        yield
    finally:
        LIVE.reset(token)
        if by_hand:
            unregister(FAMILY, cls.__name__)


def is_live(cls: type) -> bool:
    """Whether the runner whose `run` was called is of this class, which may have been loaded a second time."""
    runner = LIVE.get()
    return runner is not None and type(runner).__qualname__ == cls.__qualname__


def description(runner: Runner, args: Arguments, output: Path) -> dict[str, Any]:
    """Task, strategy, budget and seed of a run; `output` is the folder of all records."""
    told = args.standard
    name = runner.optimizer_setting(runner._optimizer_class)
    strategy = {"name": _runner_name(type(runner)), "optimizer": {"name": name, **args.hyperparams}}
    if told["optimizer_name"]:
        strategy["optimizer_name"] = told["optimizer_name"]
    budget = {} if told["num_epochs"] is None else {"budget": {"epochs": told["num_epochs"]}}
    return {
        "task": _task(told),
        "strategy": {**strategy, **args.training_params},
        **budget,
        "seed": told["random_seed"],
        "log": {"every": told["train_log_interval"]},
        "output": str(output),
    }


def task_name(testproblem: str) -> str:
    """A test problem's name; the path of a file of that name in the current folder, as DeepOBS has it."""
    return f"./{testproblem}.py" if Path(f"{testproblem}.py").is_file() else testproblem


def _task(told: Mapping[str, Any]) -> dict[str, Any]:
    """A folder of data means nothing to a problem that reads no files, and is left out there."""
    name = task_name(told["testproblem"])
    given = {key: told[key] for key in ("batch_size", "weight_decay", "data_dir") if told[key] is not None}
    if "data_dir" in given and "data_dir" not in find(name, ("task",)).settings().model_fields:
        del given["data_dir"]
    return {"name": name, **{key: str(value) if isinstance(value, Path) else value for key, value in given.items()}}


def _runner_name(cls: type[Runner]) -> str:
    """By which name the registry finds a runner class: that of a file, so that the run can be repeated from its record,
    or its own, registered while it runs, for a class of a notebook, of a package, or of a script that has no
    `if __name__ == "__main__"` and would run again when it is loaded.
    """
    if cls.is_facade_of:
        return cls.is_facade_of
    file = _file(cls)
    return f"{file}:{cls.__name__}" if file else cls.__name__


def import_name(cls: type) -> str:
    """By which name a setting finds a class: `package.module:Class`, or `./file.py:Class` for one of a script."""
    if cls.__module__ != "__main__":
        return f"{cls.__module__}:{cls.__qualname__}"
    return f"{_script() or '__main__'}:{cls.__qualname__}"


def _file(cls: type) -> str | None:
    """The file that declares the class, if loading it alone declares it and does nothing else."""
    if cls.__module__ == "__main__":
        path = _script()
    elif "." in cls.__module__ or "." in cls.__qualname__:
        return None
    else:
        source = inspect.getsourcefile(cls)
        path = _relative(Path(source)) if source else None
    try:
        known = [plugin.class_name for plugin in describe(Path(path), (FAMILY,))] if path else []
    except RegimenError:
        return None
    return path if cls.__name__ in known else None


def _script() -> str | None:
    """The file of the script that was started, if it can be loaded without running it."""
    source = getattr(sys.modules.get("__main__"), "__file__", None)
    if source is None or not Path(source).is_file():
        return None
    tree = syntax_tree(Path(source).read_text(encoding="utf-8-sig"))
    guarded = any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body)
    return _relative(Path(source)) if guarded else None


def _relative(path: Path) -> str:
    try:
        return f"./{path.resolve().relative_to(Path.cwd())}"
    except ValueError:
        return str(path.resolve())
