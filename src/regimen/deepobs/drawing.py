"""What DeepOBS' figures share: matplotlib where it is installed, curves with a band, labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from statistics import fmean, quantiles, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

from regimen.analysis.runs import Run
from regimen.benchmark.output import METRICS
from regimen.errors import MissingExtra, Problem, SpecError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = {
    "test_losses": "Test Loss",
    "train_losses": "Train Loss",
    "test_accuracies": "Test Accuracy",
    "train_accuracies": "Train Accuracy",
}
"""The four axes of a figure, from top to bottom."""
_CENTRES = ("mean_and_std", "median_and_quartiles")


class Band(NamedTuple):
    """At one epoch."""

    centre: float
    low: float
    high: float


def pyplot() -> Any:
    """`matplotlib.pyplot`. Raises `MissingExtra`."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        fix = "pip install 'regimen-ml[analysis]', or use `regimen analyze FOLDER --output page.html`."
        raise MissingExtra(Problem("", "figures need matplotlib, which is not installed.", fix)) from error
    return pyplot


def shown(fig: Figure, axes: Any, show: bool) -> tuple[Figure, Any]:
    """The figure and its axes, in a window where there is one."""
    fig.tight_layout()
    if show:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*non-interactive")  # a machine without a display
            pyplot().show()
    return fig, axes


def draw_curves(name: str, runs: Sequence[Run], axes: Any, which: str) -> None:
    """One optimizer's four curves with their bands; a run that diverged is in none of them."""
    if which not in _CENTRES:
        raise SpecError(Problem("which", f"is {which!r}.", did_you_mean(which, _CENTRES)))
    for row, metric in zip(axes, ROWS, strict=True):
        curves = [run.curves[METRICS[metric]] for run in runs if METRICS[metric] in run.curves and not run.has_diverged]
        if not curves:
            continue
        epochs = [epoch for epoch in curves[0].epochs if all(epoch in curve.epochs for curve in curves)]
        columns = [dict(zip(curve.epochs, curve.values, strict=True)) for curve in curves]
        bands = [_band([column[epoch] for column in columns], which) for epoch in epochs]
        row.plot(epochs, [band.centre for band in bands], label=name)
        row.fill_between(epochs, [band.low for band in bands], [band.high for band in bands], alpha=0.3)


def _band(values: Sequence[float], which: str) -> Band:
    if len(values) == 1:
        return Band(values[0], values[0], values[0])
    if which == "mean_and_std":
        mean, around = fmean(values), stdev(values)
        return Band(mean, mean - around, mean + around)
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Band(middle, low, high)


def label_curves(columns: Sequence[Any]) -> None:
    """Names the axes of columns of four, and draws the legend in the first."""
    for axis, title in zip(columns[0], ROWS.values(), strict=True):
        axis.set_ylabel(title)
    for column in columns:
        column[-1].set_xlabel("Epochs")
    columns[0][0].legend()
