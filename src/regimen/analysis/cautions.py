"""What stands against a number: said in words beside it, so that nobody has to find out by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from regimen.analysis.choice import Choice
from regimen.analysis.groups import OptimizerRuns
from regimen.analysis.measure import Measure, Rule
from regimen.analysis.runs import Value, shown
from regimen.analysis.targets import TimeToTarget
from regimen.readable import number

Kind = Literal[
    "chosen on test",
    "tuning seeds counted",
    "edge of the grid",
    "few seeds",
    "two humps",
    "one value",
    "diverged",
    "easy target",
    "seed twice",
    "unfinished",
    "unequal budgets",
    "metric missing",
]
ENOUGH_SEEDS = 5
_HUMPS = ((5, 0.018), (6, 0.029), (8, 0.066), (10, 0.095), (20, 0.163), (30, 0.201))
"""(seeds, share): of the squared deviations, so little is left within two groups in 1 of 100 draws from one normal
distribution (4,000 simulated draws each).
"""


class Caution(NamedTuple):
    kind: Kind
    problem: str
    optimizer: str
    """Empty if it is about the problem as a whole."""
    text: str


def about_choice(group: OptimizerRuns, choice: Choice, measure: Measure, rule: Rule) -> list[Caution]:
    """What stands against one optimizer's best setting and its numbers."""
    texts: list[tuple[Kind, str]] = [*_about_seeds(choice, rule), *_about_runs(group)]
    texts += [("edge of the grid", text) for text in edges(choice)]
    numbers = choice.numbers
    if numbers.num_diverged:
        text = f"{numbers.num_diverged} of {numbers.num_seeds} seeds of the best setting diverged; "
        text += "the mean is of the rest."
        texts.append(("diverged", text))
    finite = sorted(value for value in choice.values if math.isfinite(value))
    gap = two_humps(finite)
    if gap is not None:
        below, above = finite[: gap + 1], finite[gap + 1 :]
        text = (
            f"the seeds fall into two groups, {len(below)} around {number(sum(below) / len(below))} and {len(above)} "
            f"around {number(sum(above) / len(above))}: the mean {number(numbers.mean)} describes neither."
        )
        texts.append(("two humps", text))
    if len(finite) > 1 and finite[0] == finite[-1]:
        texts.append(("one value", f"all {len(finite)} seeds give exactly {number(finite[0])}: is the seed used?"))
    return [Caution(kind, group.problem, group.optimizer, text) for kind, text in texts]


def _about_seeds(choice: Choice, rule: Rule) -> list[tuple[Kind, str]]:
    found: list[tuple[Kind, str]] = []
    most = max(choice.ranked, key=lambda one: one.reported.num_seeds)
    if not choice.is_fresh:
        seeds = ", ".join(map(str, choice.tuning_seeds))
        text = (
            f"the numbers count the seeds on which the setting was chosen ({seeds}), whose luck is part of the choice."
        )
        if len(choice.runs) == len(choice.tuning_seeds):
            text += " Run the best setting on fresh seeds."
        found.append(("tuning seeds counted", text))
    if choice.numbers.num_seeds < ENOUGH_SEEDS:
        text = f"{_seeds(choice.numbers.num_seeds)}; at least {ENOUGH_SEEDS} are needed to judge a spread."
        if most.reported.num_seeds > choice.best.reported.num_seeds and rule != "most":
            text += (
                f" Another setting, {most.runs.label}, was run on {most.reported.num_seeds}; "
                "`--rule most` reports that one."
            )
        found.append(("few seeds", text))
    return found


def _about_runs(group: OptimizerRuns) -> list[tuple[Kind, str]]:
    found: list[tuple[Kind, str]] = []
    twice = [run for setting in group.settings for run in setting.superseded]
    if twice:
        text = f"{len(twice)} runs repeat a seed of their setting and are not counted again, such as {twice[0].source}."
        found.append(("seed twice", text))
    unfinished = [run for setting in group.settings for run in setting.unfinished]
    if unfinished:
        counts = {run.status: sum(other.status == run.status for other in unfinished) for run in unfinished}
        listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        found.append(("unfinished", f"not counted: {listed}, such as {unfinished[0].source}."))
    budgets = sorted({setting.budget for setting in group.settings if setting.ended})
    if len(budgets) > 1:
        fewer = sum(setting.budget < budgets[-1] for setting in group.settings if setting.ended)
        text = f"{fewer} settings had fewer than {number(budgets[-1])} epochs; only the others compete."
        found.append(("unequal budgets", text))
    return found


def edges(choice: Choice) -> list[str]:
    """The hyperparameters whose best value is the smallest or largest that was tried, for however few epochs."""
    found = []
    for key in choice.best.runs.setting:
        values = {_number(one.runs.setting.get(key)) for one in choice.ranked}
        tried = sorted(value for value in values if value is not None)
        best = _number(choice.best.runs.setting.get(key))
        if key != "budget.epochs" and len(tried) > 1 and best in (tried[0], tried[-1]):
            end = "smallest" if best == tried[0] else "largest"
            text = f"the best {key}, {shown(best)}, is the {end} of {len(tried)} tried: a better one may lie beyond."
            found.append(text)
    return found


def _number(value: Value) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def two_humps(ordered: Sequence[float]) -> int | None:
    """The place after which ascending values fall into two groups, at least 2 in each; None if they do not.

    Judged by the share of the squared deviations that is left within the groups: 1 of 100 samples of a normal
    distribution is split. Below 5 values nothing can be said.
    """
    total = _squares(ordered)
    if len(ordered) < ENOUGH_SEEDS or total == 0:
        return None
    splits = range(2, len(ordered) - 1)
    within = {place: (_squares(ordered[:place]) + _squares(ordered[place:])) / total for place in splits}
    place = min(within, key=lambda split: within[split])
    return place - 1 if within[place] < _allowed(len(ordered)) else None


def _squares(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values)


def _allowed(count: int) -> float:
    """Between the simulated counts, on a line."""
    for (low, share), (high, next_share) in pairwise(_HUMPS):
        if count <= high:
            return share + (next_share - share) * (count - low) / (high - low)
    return _HUMPS[-1][1]


def about_problem(
    problem: str,
    measure: Measure,
    budgets: dict[str, float],
    times: dict[str, TimeToTarget],
    *,
    was_tuned: bool,
) -> list[Caution]:
    """What stands against a problem's table as a whole. `budgets` and `times` are by optimizer."""
    found: list[Caution] = []
    if was_tuned and not measure.is_honest:
        text = (
            f"settings were chosen by {measure.reported}, the number that is reported, for want of validation data: "
            "all numbers are optimistic."
        )
        found.append(Caution("chosen on test", problem, "", text))
    if len(set(budgets.values())) > 1:
        listed = ", ".join(f"{optimizer} {number(epochs)}" for optimizer, epochs in budgets.items())
        found.append(
            Caution("unequal budgets", problem, "", f"the optimizers had different budgets in epochs: {listed}.")
        )
    easy = [name for name, time in times.items() if all(one.epochs <= 1 for one in time.each)]
    if easy:
        who = "every optimizer" if len(easy) == len(times) else ", ".join(easy)
        target = number(times[easy[0]].target, 6)
        text = f"{who} reached the target {target} within one epoch on every seed: it is too easy to tell speeds apart."
        found.append(Caution("easy target", problem, "", text))
    return found


def _seeds(count: int) -> str:
    return f"{count} seed" if count == 1 else f"{count} seeds"
