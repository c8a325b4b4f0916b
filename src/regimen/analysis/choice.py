"""Chooses the best setting of an optimizer by the stated rule, and which of its seeds the final numbers come from.

Settings compete on the seeds that several of them share, the tuning seeds, and only those that were given the largest
budget. The numbers of the winner come from its other seeds, if it has any: the luck of a seed that won is not counted
as quality. Settings of which a run diverged come after those of which none did.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from regimen.analysis.groups import OptimizerRuns, SettingRuns
from regimen.analysis.measure import Measure, Rule, value_of
from regimen.analysis.runs import Run
from regimen.analysis.spread import Spread, spread


class SettingNumbers(NamedTuple):
    """One setting with its numbers; `reported` is over all seeds, for sensitivity and ranks, not for the table."""

    runs: SettingRuns
    chosen_by: Spread
    """The choosing metric over the tuning seeds; over all seeds where there are none."""
    reported: Spread
    values: tuple[float, ...]
    """The reported metric of each of `runs.ended`; NaN where it diverged."""
    competes: bool
    """False for a setting that was given fewer epochs than others, as a tuner gives to those it gives up."""


@dataclass(frozen=True)
class Choice:
    """The best setting of an optimizer and its final numbers."""

    best: SettingNumbers
    ranked: tuple[SettingNumbers, ...]
    """All settings, best first."""
    runs: tuple[Run, ...]
    """Those that the numbers come from, one a seed."""
    values: tuple[float, ...]
    """Their reported metric; NaN where one diverged."""
    numbers: Spread
    tuning_seeds: tuple[int, ...]
    """Of the best setting: the seeds on which it was chosen."""
    is_fresh: bool
    """Whether the numbers leave the tuning seeds out, or nothing was chosen at all."""


def choose(group: OptimizerRuns, measure: Measure, rule: Rule, *, keep_tuning_seeds: bool = False) -> Choice | None:
    """The best setting; None if no run has ended. `keep_tuning_seeds` counts them in, as DeepOBS does."""
    settings = [setting for setting in group.settings if setting.ended]
    if not settings:
        return None
    budget = max(setting.budget for setting in settings)
    competing = [setting for setting in settings if setting.budget >= budget]
    tuning = tuning_seeds(competing)
    numbered = [_numbers(setting, measure, rule, tuning, setting.budget >= budget) for setting in settings]
    ranked = tuple(sorted(numbered, key=lambda one: _rank(one, measure, rule)))
    best = ranked[0]
    fresh = [run for run in best.runs.ended if run.seed not in tuning]
    leaves_out = bool(fresh) and not keep_tuning_seeds
    counted = fresh if leaves_out else list(best.runs.ended)
    values = tuple(value_of(run, measure.reported, measure, rule) for run in counted)
    return Choice(
        best=best,
        ranked=ranked,
        runs=tuple(counted),
        values=values,
        numbers=spread(values, lower_is_better=measure.lower_is_better),
        tuning_seeds=tuple(run.seed for run in best.runs.ended if run.seed in tuning),
        is_fresh=leaves_out or not tuning,
    )


def tuning_seeds(settings: Sequence[SettingRuns]) -> frozenset[int]:
    """What a study recorded as such; where nothing says so, the seeds that more than one setting was run on."""
    runs = [run for setting in settings for run in setting.ended]
    if any(run.is_tuning is not None for run in runs):
        return frozenset(run.seed for run in runs if run.is_tuning)
    counts = Counter(run.seed for run in runs)
    return frozenset(seed for seed, count in counts.items() if count > 1)


def _numbers(
    setting: SettingRuns, measure: Measure, rule: Rule, tuning: frozenset[int], competes: bool
) -> SettingNumbers:
    judged = [run for run in setting.ended if run.seed in tuning] or setting.ended
    chosen_by = [value_of(run, measure.chosen_by, measure, rule) for run in judged]
    values = tuple(value_of(run, measure.reported, measure, rule) for run in setting.ended)
    lower = measure.lower_is_better
    return SettingNumbers(
        setting, spread(chosen_by, lower_is_better=lower), spread(values, lower_is_better=lower), values, competes
    )


def _rank(one: SettingNumbers, measure: Measure, rule: Rule) -> tuple[bool, int, float, float]:
    """Smaller is better."""
    share = one.chosen_by.num_diverged / one.chosen_by.num_seeds
    mean = one.chosen_by.mean if measure.lower_is_better else -one.chosen_by.mean
    seeds = -one.reported.num_seeds if rule == "most" else 0
    return not one.competes, seeds, share, math.inf if math.isnan(mean) else mean
