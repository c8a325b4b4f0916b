"""Puts runs together: those of one setting that differ in their seed only, and the settings of one optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regimen.analysis.runs import Run, Value, said

RATES = ("lr", "learning_rate")
"""What optimizers call their learning rate."""


@dataclass(frozen=True)
class SettingRuns:
    """One setting of an optimizer on a problem."""

    label: str
    """What tells it from the others: `lr 0.01`."""
    setting: dict[str, Value]
    ended: tuple[Run, ...]
    """One a seed, by seed: completed or diverged."""
    unfinished: tuple[Run, ...]
    """Running, stopped, failed, lost, refused: in no number."""
    superseded: tuple[Run, ...]
    """Older runs of a seed that is there twice: in no number."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.seed for run in self.ended)

    @property
    def budget(self) -> float:
        """Epochs that its runs were given; the most they trained where nothing says so."""
        return max((run.epochs if run.budget is None else run.budget for run in self.ended), default=0.0)


@dataclass(frozen=True)
class OptimizerRuns:
    """All settings of one optimizer on one problem."""

    problem: str
    optimizer: str
    settings: tuple[SettingRuns, ...]
    varied: tuple[str, ...]
    """The hyperparameters and other settings in which they differ."""

    @property
    def runs(self) -> Iterable[Run]:
        return (run for setting in self.settings for run in setting.ended)


def grouped(runs: Sequence[Run]) -> list[OptimizerRuns]:
    """By problem, then by optimizer in alphabetical order; the strategy is named where several were used."""
    names = {run.problem: set[str]() for run in sorted(runs, key=lambda run: run.problem)}
    for run in runs:
        names[run.problem].add(run.runner)
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        runner = f" ({run.runner})" if len(names[run.problem]) > 1 and run.runner != run.optimizer else ""
        found.setdefault((run.problem, run.optimizer + runner), []).append(run)
    return [_optimizer(problem, name, found[problem, name]) for problem, name in sorted(found)]


def _optimizer(problem: str, optimizer: str, runs: list[Run]) -> OptimizerRuns:
    keys = {key: None for run in runs for key in run.setting}
    varied = tuple(key for key in keys if len({run.setting.get(key) for run in runs}) > 1)
    shown = tuple(key for key in varied if key != "budget.epochs") or tuple(key for key in RATES if key in keys)
    settings: dict[tuple[Value, ...], list[Run]] = {}
    for run in runs:
        settings.setdefault(tuple(run.setting.get(key) for key in varied), []).append(run)
    made = [_setting(same, shown) for same in settings.values()]
    return OptimizerRuns(problem, optimizer, tuple(sorted(made, key=lambda one: _order(one, varied))), varied)


def _setting(runs: list[Run], shown: tuple[str, ...]) -> SettingRuns:
    ended: dict[int, Run] = {}
    superseded = []
    for run in sorted((run for run in runs if run.has_ended), key=lambda run: run.made):
        if run.seed in ended:
            superseded.append(ended[run.seed])
        ended[run.seed] = run
    setting = dict(runs[0].setting)
    return SettingRuns(
        label=said(setting, shown),
        setting=setting,
        ended=tuple(ended[seed] for seed in sorted(ended)),
        unfinished=tuple(run for run in runs if not run.has_ended),
        superseded=tuple(superseded),
    )


def _order(setting: SettingRuns, varied: tuple[str, ...]) -> list[tuple[bool, float, str]]:
    """By what was varied, numbers by size."""
    values = [setting.setting.get(key) for key in varied]
    return [
        (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, str(value)) for value in values
    ]
