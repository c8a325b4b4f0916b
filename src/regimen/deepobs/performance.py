"""The numbers behind DeepOBS' analyzer: settings ranked by its modes, the performance of the best one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from regimen.analysis.choice import Choice, SettingNumbers, choose
from regimen.analysis.groups import OptimizerRuns, grouped
from regimen.analysis.measure import Measure, Rule, value_of
from regimen.analysis.reading import read_runs
from regimen.analysis.runs import Run
from regimen.analysis.targets import reached
from regimen.benchmark.output import METRICS
from regimen.errors import DataError, Problem, SpecError, did_you_mean
from regimen.report.glossary import meaning

_MODES: tuple[Rule, ...] = ("final", "best", "most")


def groups(path: str | Path, *, only_one: bool = False) -> list[OptimizerRuns]:
    """The optimizers below a folder. Raises `SpecError` for several where one is asked for."""
    found = grouped(read_runs(path).runs)
    if only_one and len(found) > 1:
        listed = ", ".join(f"{group.problem}/{group.optimizer}" for group in found)
        raise SpecError(Problem(str(path), f"holds the runs of {listed}.", "Give the folder of one optimizer."))
    return found


def chosen(group: OptimizerRuns, mode: str, metric: str) -> tuple[Choice, Measure]:
    """The settings ranked by a metric, all seeds counted. Raises `SpecError` for an unknown mode or metric."""
    rule = next((known for known in _MODES if known == mode), None)
    if rule is None:
        raise SpecError(Problem("mode", f"is {mode!r}.", did_you_mean(mode, _MODES)))
    key = _measured(group, metric)
    measure = Measure(key, key, meaning(key).better == "lower")
    choice = choose(group, measure, rule, keep_tuning_seeds=True)
    if choice is None:
        text = f"of {group.optimizer} has not ended."
        raise SpecError(Problem(group.problem, f"Every run {text}", "Wait for one, or resume it."))
    return choice, measure


def _measured(group: OptimizerRuns, metric: str) -> str:
    """The metric in our words: the asked one, else valid losses, else test losses, as DeepOBS falls back.

    A metric that exists and was not measured falls back with a line that says so; an unknown one is an error.
    """
    if metric not in METRICS:
        raise SpecError(Problem("metric", f"is {metric!r}.", did_you_mean(metric, METRICS)))
    recorded = {key for run in group.runs for key in run.curves}
    same_split = metric.replace("valid", "test")
    for name in (metric, same_split, "valid_losses", "test_losses"):
        if METRICS[name] in recorded:
            if name != metric:
                print(f"{group.problem}, {group.optimizer}: no {metric}; {name} are used.")  # noqa: T201
            return METRICS[name]
    raise SpecError(Problem(group.problem, f"{group.optimizer} has no {metric}.", f"Measured: {', '.join(recorded)}."))


def theirs(key: str) -> str:
    """A metric of ours by DeepOBS' name."""
    return next((name for name, ours in METRICS.items() if ours == key), key)


def performance(
    group: OptimizerRuns, mode: str, metric: str, values_by_problem: Mapping[str, float] | None
) -> dict[str, Any]:
    """Of the best setting, all seeds counted: see `analyzer.get_performance_dictionary`."""
    choice, measure = chosen(group, mode, metric)
    runs = choice.best.runs.ended
    key = "test/accuracy" if any("test/accuracy" in run.curves for run in runs) else "test/loss"
    reported = Measure(key, measure.chosen_by, meaning(key).better == "lower")
    rule: Rule = "best" if mode == "best" else "final"
    values = [value_of(run, key, reported, rule) for run in runs]
    setting = choice.best.runs.setting
    return {
        "Performance": fmean(values),
        "Speed": "N.A." if values_by_problem is None else _speed(group.problem, runs, reported, values_by_problem),
        "Hyperparameters": {name: value for name, value in setting.items() if "." not in name and name != "precision"},
        "Training Parameters": {
            name.removeprefix("strategy."): value for name, value in setting.items() if name.startswith("strategy.")
        },
    }


def _speed(problem: str, runs: Sequence[Run], measure: Measure, targets: Mapping[str, float]) -> float:
    """DeepOBS' own: a mean in which a run that never reached the target counts as one epoch more than it had."""
    if problem not in targets:
        text = f"has no value for {problem}."
        raise SpecError(Problem("conv_perf_file", text, did_you_mean(problem, targets)))
    lower = measure.lower_is_better
    first = [reached(run, measure.reported, targets[problem], lower_is_better=lower).epochs for run in runs]
    return fmean(run.epochs + 1 if math.isinf(at) else at for run, at in zip(runs, first, strict=True))


def targets(path: str | Path | None) -> Mapping[str, float] | None:
    """The values to reach, by problem, from a JSON file. Raises `DataError`."""
    if path is None:
        return None
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(Problem(str(path), f"cannot be read: {error}.", "Give JSON of values by problem.")) from error
    if not isinstance(found, dict) or not all(isinstance(value, int | float) for value in found.values()):
        raise DataError(Problem(str(path), "does not hold a value by problem.", 'Such as {"quadratic_deep": 87.7}.'))
    return found


def by_value(choice: Choice, hyperparams: Sequence[str]) -> list[tuple[tuple[float, ...], SettingNumbers]]:
    """The settings that have numbers for the hyperparameters and did not diverge, by those."""
    known = sorted({key for one in choice.ranked for key in one.runs.setting})
    for name in hyperparams:
        if name not in known:
            raise SpecError(Problem("hyperparam", f"{name!r} is in no setting.", did_you_mean(name, known)))
    found = []
    for one in choice.ranked:
        values = [one.runs.setting.get(name) for name in hyperparams]
        numbers = tuple(float(value) for value in values if isinstance(value, int | float))
        if len(numbers) == len(values) and math.isfinite(one.reported.mean):
            found.append((numbers, one))
    return sorted(found, key=lambda pair: pair[0])


def finals(one: SettingNumbers) -> list[float]:
    """The metric of each seed that did not diverge."""
    return [value for value in one.values if math.isfinite(value)]
