"""How much longer an optimizer takes than SGD: DeepOBS' `estimate_runtime`."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any, NamedTuple

from regimen.errors import Problem, SpecError, did_you_mean


class _Framework(NamedTuple):
    runners: str
    """The module with its `StandardRunner`."""
    optimizers: str
    """The module with its `SGD`."""
    rate: str
    """What that calls the learning rate."""


_FRAMEWORKS = {
    "pytorch": _Framework("regimen.deepobs.runners", "torch.optim", "lr"),
    "tensorflow": _Framework("regimen.deepobs.tensorflow", "keras.optimizers", "learning_rate"),
}


def estimate_runtime(
    framework: str,
    runner_cls: Any,
    optimizer_cls: type,
    optimizer_hp: Mapping[str, Any],
    optimizer_hyperparams: Mapping[str, Any],
    n_runs: int = 5,
    sgd_lr: float = 0.01,
    testproblem: str = "mnist_mlp",
    num_epochs: int = 5,
    batch_size: int = 128,
    **kwargs: Any,
) -> str:
    """Times `n_runs` runs of SGD and of the new optimizer in turns; prints and returns what it took.

    Each time is that of a whole `run` call, reading data and evaluating included, as in DeepOBS. Before, each trains
    one epoch untimed, so that what happens once a process is in none. `kwargs` go to `run`.
    Raises `SpecError` for an unknown framework, and whatever the runs raise.
    """
    if framework not in _FRAMEWORKS:
        raise SpecError(Problem("framework", f"is {framework!r}.", did_you_mean(framework, _FRAMEWORKS)))
    known = _FRAMEWORKS[framework]
    sgd = importlib.import_module(known.optimizers).SGD
    standard = importlib.import_module(known.runners).StandardRunner
    both = [
        (standard(sgd, {known.rate: {"type": float}}), {known.rate: sgd_lr}),
        (runner_cls(optimizer_cls, optimizer_hp), dict(optimizer_hyperparams)),
    ]
    given = {"testproblem": testproblem, "batch_size": batch_size, "num_epochs": num_epochs, "no_logs": True, **kwargs}
    for runner, hyperparams in both:
        runner.run(hyperparams=hyperparams, **{**given, "num_epochs": 1})
    seconds: list[list[float]] = [[], []]
    for _ in range(n_runs):
        for (runner, hyperparams), taken in zip(both, seconds, strict=True):
            began = time.perf_counter()
            runner.run(hyperparams=hyperparams, **given)
            taken.append(time.perf_counter() - began)
    output = _told(*seconds)
    print(output)  # noqa: T201
    return output


def _told(sgd: list[float], new: list[float]) -> str:
    overhead = [ours / base for ours, base in zip(new, sgd, strict=True)]
    spread = f"{stdev(overhead):.4g}" if len(overhead) > 1 else "unknown with one run"
    return "\n".join(
        [
            f"** Mean run time SGD: {fmean(sgd):.4g} s",
            f"** Mean run time new optimizer: {fmean(new):.4g} s",
            f"** Overhead per run: {', '.join(f'{each:.4g}' for each in overhead)}",
            f"** Mean overhead: {fmean(overhead):.4g} Standard deviation: {spread}",
        ]
    )
