"""DeepOBS' analyzer by its published names: reads any results, counts as `regimen analyze` does, draws with matplotlib.

    from regimen.deepobs import analyzer
    analyzer.plot_optimizer_performance("results/quadratic_deep/SGD")

What differs from DeepOBS 1.2: settings compete on the seeds that they share, one that diverged comes last, a seed is
counted once, standard deviations have n - 1, and for `best` the test metric is taken where the validation metric was
best. `regimen analyze` leaves the tuning seeds out as well; these functions count them, as DeepOBS does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regimen.analysis.groups import OptimizerRuns, grouped
from regimen.analysis.reading import read_runs
from regimen.deepobs.drawing import draw_curves, label_curves, pyplot, shown
from regimen.deepobs.performance import by_value, chosen, finals, groups, performance, targets, theirs
from regimen.deepobs.runtime import estimate_runtime
from regimen.errors import MissingExtra, Problem, SpecError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = [
    "check_output",
    "estimate_runtime",
    "get_performance_dictionary",
    "plot_final_metric_vs_tuning_rank",
    "plot_hyperparameter_sensitivity",
    "plot_hyperparameter_sensitivity_2d",
    "plot_optimizer_performance",
    "plot_results_table",
    "plot_testset_performances",
]


def check_output(results_path: str | Path) -> None:
    """Prints how many settings have how many seeds, for each problem and optimizer, and every file that is no run."""
    runs = read_runs(results_path)
    for group in grouped(runs.runs):
        counts = [len(setting.ended) + len(setting.unfinished) for setting in group.settings]
        for count in sorted(set(counts)):
            print(f"{group.problem} | {group.optimizer}: {counts.count(count)} setting(s) with {count} seed(s).")  # noqa: T201
    for note in (*runs.notes, *(f"{bad.folder}: {bad.why}" for bad in runs.unreadable)):
        print(note)  # noqa: T201


def get_performance_dictionary(
    optimizer_path: str | Path,
    mode: str = "most",
    metric: str = "valid_accuracies",
    conv_perf_file: str | Path | None = None,
) -> dict[str, Any]:
    """`Performance` (mean over all seeds of the test metric), `Speed`, `Hyperparameters`, `Training Parameters` of one
    optimizer's best setting.

    `Speed` is the mean of the first epoch that reaches the problem's value in `conv_perf_file` (JSON, by problem), one
    more than there were for a seed that never does, or "N.A." without the file. Raises `SpecError`, `RecordError`.
    """
    (group,) = groups(optimizer_path, only_one=True)
    return performance(group, mode, metric, targets(conv_perf_file))


def plot_results_table(
    results_path: str | Path,
    mode: str = "most",
    metric: str = "valid_accuracies",
    conv_perf_file: str | Path | None = None,
) -> DataFrame:
    """Prints and returns the performance dictionaries of all problems (rows) and optimizers (columns)."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        fix = "pip install 'regimen-ml[analysis]', or use `regimen analyze`."
        raise MissingExtra(Problem("", "a table needs pandas, which is not installed.", fix)) from error
    values = targets(conv_perf_file)
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for group in groups(results_path):
        for key, value in sorted(performance(group, mode, metric, values).items()):
            cells.setdefault((group.problem, key), {})[group.optimizer] = value
    table = pandas.DataFrame.from_dict(cells, orient="index")
    print(table)  # noqa: T201
    return table


def plot_optimizer_performance(
    path: str | Path,
    fig: Figure | None = None,
    ax: Any = None,
    mode: str = "most",
    metric: str = "valid_accuracies",
    reference_path: str | Path | None = None,
    show: bool = True,
    which: str = "mean_and_std",
) -> tuple[Figure, Any]:
    """Losses and accuracies of the best settings over epochs, in four axes; `which` is `mean_and_std` or
    `median_and_quartiles`. `path` is an optimizer's folder or a problem's.
    """
    if fig is None or ax is None:
        fig, ax = pyplot().subplots(4, 1, sharex="col", figsize=(7, 10))
    _draw(_sources(path, reference_path), ax, mode, metric, which)
    label_curves([ax])
    return shown(fig, ax, show)


def plot_testset_performances(
    results_path: str | Path,
    mode: str = "most",
    metric: str = "valid_accuracies",
    reference_path: str | Path | None = None,
    show: bool = True,
    which: str = "mean_and_std",
) -> tuple[Figure, Any]:
    """The same, a column a problem. References of problems that are not in `results_path` are left out."""
    found = _sources(results_path, reference_path)
    problems = sorted({group.problem for group in groups(results_path)})
    fig, axes = pyplot().subplots(4, len(problems), sharex="col", squeeze=False, figsize=(4 * len(problems), 10))
    for column, problem in enumerate(problems):
        here = [group for group in found if group.problem == problem]
        _draw(here, axes[:, column], mode, metric, which)
    label_curves([axes[:, column] for column in range(len(problems))])
    return shown(fig, axes, show)


def plot_hyperparameter_sensitivity(
    path: str | Path,
    hyperparam: str,
    mode: str = "final",
    metric: str = "valid_accuracies",
    xscale: str = "linear",
    plot_std: bool = True,
    reference_path: str | Path | None = None,
    show: bool = True,
) -> tuple[Figure, Any]:
    """The metric over a hyperparameter, a line an optimizer; with `plot_std` a cross a seed. Settings that diverged are
    left out.
    """
    fig, ax = pyplot().subplots()
    measured = metric
    for group in _sources(path, reference_path):
        choice, measure = chosen(group, mode, metric)
        measured = measure.reported
        points = by_value(choice, [hyperparam])
        ax.plot([value for (value,), _ in points], [one.reported.mean for _, one in points], label=group.optimizer)
        for (value,), one in points if plot_std else ():
            seeds = finals(one)
            ax.scatter([value] * len(seeds), seeds, marker="x", color="tab:blue")
            ax.plot((value, value), (min(seeds), max(seeds)), color="grey", linestyle="--")
        ax.set_title(group.problem)
    ax.set(xscale=xscale, xlabel=hyperparam, ylabel=theirs(measured))
    ax.legend()
    return shown(fig, ax, show)


def plot_hyperparameter_sensitivity_2d(
    optimizer_path: str | Path,
    hyperparams: Sequence[str],
    mode: str = "final",
    metric: str = "valid_accuracies",
    xscale: str = "linear",
    yscale: str = "linear",
    show: bool = True,
) -> tuple[Figure, Any]:
    """The metric over two hyperparameters, as filled contours between settings that did not diverge (at least 3)."""
    (group,) = groups(optimizer_path, only_one=True)
    choice, measure = chosen(group, mode, metric)
    points = by_value(choice, hyperparams)
    if len(points) < 3:
        text = f"has {len(points)} settings that vary in {' and '.join(hyperparams)} and did not diverge."
        raise SpecError(Problem(str(optimizer_path), text, "Contours need at least 3."))
    across, up = [values[0] for values, _ in points], [values[1] for values, _ in points]
    fig, ax = pyplot().subplots()
    drawn = ax.tricontourf(across, up, [one.reported.mean for _, one in points], levels=20)
    ax.scatter(across, up, color="black", s=8)
    ax.set(xscale=xscale, yscale=yscale, xlabel=hyperparams[0], ylabel=hyperparams[1])
    fig.colorbar(drawn).set_label(theirs(measure.reported))
    return shown(fig, ax, show)


def plot_final_metric_vs_tuning_rank(
    optimizer_path: str | Path, metric: str = "valid_accuracies", show: bool = True
) -> tuple[Figure, Any]:
    """The final metric of every setting, best first, with a cross a seed. Settings that diverged are left out."""
    (group,) = groups(optimizer_path, only_one=True)
    choice, measure = chosen(group, "final", metric)
    fig, ax = pyplot().subplots()
    ranked = [one for one in choice.ranked if math.isfinite(one.reported.mean)]
    ax.plot(range(len(ranked)), [one.reported.mean for one in ranked])
    for rank, one in enumerate(ranked):
        seeds = finals(one)
        ax.scatter([rank] * len(seeds), seeds, marker="x", color="tab:blue")
        ax.plot((rank, rank), (min(seeds), max(seeds)), color="grey", linestyle="--")
    ax.set(title=f"{group.optimizer} on {group.problem}", xlabel="tuning rank", ylabel=theirs(measure.reported))
    return shown(fig, ax, show)


def _draw(found: Sequence[OptimizerRuns], axes: Any, mode: str, metric: str, which: str) -> None:
    for group in found:
        choice, _ = chosen(group, mode, metric)
        draw_curves(group.optimizer, choice.best.runs.ended, axes, which)
        axes[0].set_title(group.problem)


def _sources(path: str | Path, reference_path: str | Path | None) -> list[OptimizerRuns]:
    return [*groups(path), *([] if reference_path is None else groups(reference_path))]
