"""DeepOBS' helpers around a tuning: `rerun_setting`, `log_uniform`, and summaries of what was tried."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from regimen.benchmark.files.reading import read_results
from regimen.benchmark.files.results import Setting
from regimen.deepobs.commandline import Specification
from regimen.deepobs.runner import Runner
from regimen.errors import Problem, SpecError, did_you_mean
from regimen.records.writer import replace_file

LOG_FILE = "tuning_log.json"
_SEEDS = range(43, 52)
_MODES = ("final", "best")


class Ranked(NamedTuple):
    """A setting with its metric over the seeds that are there."""

    setting: Setting
    metric: str
    mean: float
    """NaN where a seed diverged."""
    std: float
    """Over n - 1; NaN for one seed."""


class log_uniform:  # noqa: N801 - the published name
    """Draws `base ** u`, u uniform between the exponents `a` and `b`."""

    def __init__(self, a: float, b: float, base: float = 10) -> None:
        self.a, self.b, self.base = a, b, base

    def rvs(self, size: int | None = None, random_state: Any = None) -> Any:
        """One number, or an array of `size`; from NumPy's global generator if there is no `random_state`."""
        generator = np.random if random_state is None else np.random.RandomState(random_state)
        return np.power(float(self.base), generator.uniform(self.a, self.b, size))


def create_tuning_ranking(
    optimizer_path: str | Path, mode: str = "final", metric: str = "valid_accuracies"
) -> list[Ranked]:
    """The settings of one optimizer on one problem, best first; those of which a seed diverged come last.

    `mode` is final or best (the best epoch after training began). A problem without accuracy is ranked by the loss of
    the same split. Raises `SpecError` for an unknown mode or a metric that is not there, `RecordError` for a folder
    without results.
    """
    if mode not in _MODES:
        raise SpecError(Problem("mode", f"is {mode!r}.", did_you_mean(mode, _MODES)))
    settings = read_results(optimizer_path).settings
    several = sorted({f"{each.testproblem}/{each.optimizer_name}" for each in settings})
    if len(several) > 1:
        text = f"holds the runs of {', '.join(several)}."
        raise SpecError(Problem(str(optimizer_path), text, "Give the folder of one optimizer."))
    recorded = {name for each in settings for output in each.outputs for name in output.metrics}
    if metric not in recorded and metric.replace("accuracies", "losses") in recorded:
        metric = metric.replace("accuracies", "losses")
    if metric not in recorded:
        raise SpecError(Problem("metric", f"{metric!r} was not recorded.", did_you_mean(metric, recorded)))
    ranked = [_ranked(each, mode, metric) for each in settings]
    sign = -1 if metric.endswith("accuracies") else 1
    return sorted(ranked, key=lambda each: (math.isnan(each.mean), sign * each.mean))


def rerun_setting(
    runner: type[Runner],
    optimizer_class: type,
    hyperparam_names: Mapping[str, Specification],
    optimizer_path: str | Path,
    seeds: Iterable[int] = _SEEDS,
    rank: int = 1,
    mode: str = "final",
    metric: str = "valid_accuracies",
) -> list[dict[str, Any]]:
    """Trains the setting of a rank again with other seeds, everything else as it was; returns their outputs.

    `optimizer_path` is `<output_dir>/<problem>/<Optimizer>`. Raises `SpecError` for a rank that is not there, or a seed
    that the setting was chosen by.
    """
    ranking = create_tuning_ranking(optimizer_path, mode, metric)
    if not 1 <= rank <= len(ranking):
        raise SpecError(Problem("rank", f"is {rank}, and there are {len(ranking)} settings.", "Ranks begin at 1."))
    setting, seeds = ranking[rank - 1].setting, list(seeds)
    used = sorted({*seeds} & {*setting.seeds})
    if used:
        text = f"has {', '.join(map(str, used))}, with which this setting was trained already."
        raise SpecError(Problem("seeds", text, "Give fresh ones."))
    first = setting.outputs[0]
    made = runner(optimizer_class, hyperparam_names)
    as_it_was: dict[str, Any] = {
        "hyperparams": dict(first.hyperparams),
        "batch_size": first.batch_size,
        "num_epochs": int(first.num_epochs),
        "weight_decay": first.weight_decay,
        "output_dir": Path(optimizer_path).resolve().parent.parent,
        "optimizer_name": first.optimizer_name,
        "parse_cli": False,
        **first.training_params,
    }
    return [made.run(first.testproblem, random_seed=seed, **as_it_was) for seed in seeds]


def generate_tuning_summary(
    optimizer_path: str | Path, aggregated: bool = False, mode: str = "final", metric: str = "valid_accuracies"
) -> Path:
    """Writes `tuning_log.json` beside the settings: a line each, [hyperparameters, {metric: value}], best first.

    With `aggregated` the value is {"mean", "std"} over the seeds. Diverged settings have null: no number is made up.
    """
    lines: list[str] = []
    for each in create_tuning_ranking(optimizer_path, mode, metric):
        name = f"{mode}_{each.metric}"
        mean, std = (None if math.isnan(number) else number for number in (each.mean, each.std))
        value: Any = {"mean": mean, "std": std} if aggregated else mean
        lines.append(json.dumps([dict(each.setting.hyperparams), {name: value}], allow_nan=False))
    path = Path(optimizer_path) / LOG_FILE
    replace_file(path, "".join(f"{line}\n" for line in lines).encode())
    return path


write_tuning_summary = generate_tuning_summary
"""DeepOBS has both names."""


def _ranked(setting: Setting, mode: str, metric: str) -> Ranked:
    values = [_value(output.metrics.get(metric, ()), mode, metric) for output in setting.outputs]
    if any(output.status == "diverged" for output in setting.outputs):
        values = [math.nan]
    std = statistics.stdev(values) if len(values) > 1 else math.nan
    return Ranked(setting, metric, statistics.fmean(values), std)


def _value(curve: Iterable[float], mode: str, metric: str) -> float:
    """The last number, or the best after the untrained model's; NaN where one on the way is not finite."""
    numbers = list(curve)
    if not numbers or not all(map(math.isfinite, numbers)):
        return math.nan
    if mode == "final":
        return numbers[-1]
    return (max if metric.endswith("accuracies") else min)(numbers[1:] or numbers)
