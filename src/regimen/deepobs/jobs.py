"""Commands for a cluster, as DeepOBS writes them: one run of a runner's script a line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from regimen.deepobs.commandline import hyperparameter_word
from regimen.records.writer import replace_file


def flags(values: Mapping[str, Any], *, are_hyperparams: bool = False) -> str:
    """Values as a runner's script reads them back, quoted for a shell; None is left out.

    >>> flags({"nesterov": False, "lr": 1e-05, "lr_sched_epochs": [1, 2], "data_dir": "my data"})
    "--no-nesterov --lr 1e-05 --lr_sched_epochs 1 2 --data_dir 'my data'"
    """
    named = {hyperparameter_word(name) if are_hyperparams else name: value for name, value in values.items()}
    return shlex.join(word for name, value in named.items() if value is not None for word in _words(name, value))


def _words(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
    elif isinstance(value, list | tuple):
        yield from (f"--{name}", *map(str, value))
    else:
        yield from (f"--{name}", str(value))


def write_jobs(path: Path, lines: Iterable[str]) -> str:
    """Writes the commands; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, "".join(f"{line}\n" for line in lines).encode())
    return str(path)
