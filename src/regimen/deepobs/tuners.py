"""DeepOBS' tuners: `GridSearch`, `RandomSearch` and `GP`, as a thin layer over the study of `regimen tune`.

    tuner = GridSearch(SGD, {"lr": {"type": float}}, {"lr": [0.01, 0.1]}, ressources=2, runner=StandardRunner)
    tuner.tune("quadratic_deep", num_epochs=10, rerun_best_setting=True)

Choosing is by validation numbers, also for GP, which reads the test set in DeepOBS.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from regimen.deepobs.commandline import Specification
from regimen.deepobs.runner import Runner
from regimen.deepobs.tuner import ParallelizedTuner, Setting, Tuner
from regimen.errors import Problem, SpecError
from regimen.study.report import StudyReport

__all__ = ["GP", "GridSearch", "ParallelizedTuner", "RandomSearch", "Tuner"]


class GridSearch(ParallelizedTuner):
    """Every combination of the values in `grid`, as {"lr": [0.01, 0.1]}. Raises `SpecError` for more than
    `ressources` of them.
    """

    search_name = "grid_search"

    def __init__(
        self,
        optimizer_class: type,
        hyperparam_names: Mapping[str, Specification],
        grid: Mapping[str, Sequence[Any]],
        ressources: int,
        runner: type[Runner] | str = "StandardRunner",
    ) -> None:
        super().__init__(optimizer_class, hyperparam_names, ressources, runner)
        self._grid = {name: list(values) for name, values in grid.items()}
        size = math.prod(len(values) for values in self._grid.values())
        if size > ressources:
            text = f"has {size} settings, and ressources is {ressources}."
            raise SpecError(Problem("grid", text, "Raise ressources, or give fewer values."))

    def _sample(self) -> list[Setting]:
        return [dict(zip(self._grid, values, strict=True)) for values in itertools.product(*self._grid.values())]


class RandomSearch(ParallelizedTuner):
    """`ressources` draws from `distributions`: objects with `rvs()`, as those of SciPy or `tuner_utils.log_uniform`."""

    search_name = "random_search"

    def __init__(
        self,
        optimizer_class: type,
        hyperparam_names: Mapping[str, Specification],
        distributions: Mapping[str, Any],
        ressources: int,
        runner: type[Runner] | str = "StandardRunner",
    ) -> None:
        super().__init__(optimizer_class, hyperparam_names, ressources, runner)
        self._distributions = dict(distributions)

    def _sample(self) -> list[Setting]:
        return [{name: each.rvs() for name, each in self._distributions.items()} for _ in range(self._ressources)]


class GP(Tuner):
    """A Gaussian process chooses what is tried next, within `bounds` such as {"lr": (1e-5, 1e2)}.

    `transformations` may have lr: lambda x: 10**x for bounds that are exponents; another one raises `SpecError`.
    """

    search_name = "bayesian"

    def __init__(
        self,
        optimizer_class: type,
        hyperparam_names: Mapping[str, Specification],
        bounds: Mapping[str, tuple[float, float]],
        ressources: int,
        runner: type[Runner] | str = "StandardRunner",
        transformations: Mapping[str, Callable[[float], float]] | None = None,
    ) -> None:
        super().__init__(optimizer_class, hyperparam_names, ressources, runner)
        given = transformations or {}
        self._space = {name: _range(name, ends, given.get(name)) for name, ends in bounds.items()}

    def tune(
        self,
        testproblem: str,
        output_dir: str | Path = "./results",
        random_seed: int = 42,
        n_init_samples: int = 5,
        mode: Literal["final", "best"] = "final",
        rerun_best_setting: bool = False,
        **given: Any,
    ) -> StudyReport:
        """Tunes on one test problem and returns the study's report.

        Choosing is by validation numbers. What DeepOBS takes for its own Gaussian process (kernel, acq_type, ...) has
        no effect on Optuna's, and a warning says so.
        """
        idle = ("tuning_summary", "plotting_summary", "kernel", "acq_type", "acq_kappa", "acq_xi")
        without = [name for name in idle if given.pop(name, None) is not None]
        if without:
            text = (
                f"{', '.join(without)}: no effect here, where Optuna's Gaussian process chooses; see the study's log."
            )
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        method = {
            "name": "bayesian",
            "trials": self._ressources,
            "startup": n_init_samples,
            "seed": random_seed,
            "sampler": "gp",
        }
        more = given | {"mode": mode, "rerun_best_setting": rerun_best_setting}
        lowest = {name: each["low"] for name, each in self._space.items()}
        return self._study(testproblem, output_dir, random_seed, method, self._space, lowest, more)


def _range(name: str, ends: tuple[float, float], transformation: Callable[[float], float] | None) -> dict[str, Any]:
    """Bounds as a range of the space."""
    low, high = map(float, ends)
    if transformation is None:
        return {"low": low, "high": high}
    values = [float(transformation(low + part * (high - low))) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    factors = [b / a if a > 0 else math.nan for a, b in itertools.pairwise(values)]
    if not all(math.isclose(factor, factors[0], rel_tol=1e-6) and factor > 1 for factor in factors):
        fix = "Leave it out and give bounds in the hyperparameter's own unit, or use one like lambda x: 10**x."
        raise SpecError(Problem(f"transformations[{name!r}]", "is no power of a fixed base.", fix))
    return {"low": values[0], "high": values[-1], "log": True}
