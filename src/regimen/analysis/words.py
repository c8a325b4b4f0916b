"""How the analysis says its numbers, alike in the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from regimen.analysis.choice import Choice
from regimen.analysis.measure import Rule
from regimen.analysis.pairs import Difference
from regimen.analysis.sensitivity import Sensitivity
from regimen.analysis.spread import Spread
from regimen.analysis.summary import OptimizerResult, ProblemResult, Summary
from regimen.analysis.targets import TimeToTarget
from regimen.readable import duration, number
from regimen.report.ticks import label

HEAD = (
    "optimizer",
    "mean ± std",
    "median",
    "seeds",
    "best setting",
    "reached target",
    "epochs to target",
    "time to target",
)
"""Of a problem's table; the last three are of the time to the target."""


class Cell(NamedTuple):
    """What a table says at a place, and in smaller type what a careful reader wants to know besides."""

    text: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.detail})" if self.detail else self.text


NOTHING = Cell("-")


def rows(problem: ProblemResult) -> Iterator[list[Cell]]:
    """The table of a problem under `HEAD`, the best optimizer first."""
    for result in problem.results:
        numbers, time = result.choice.numbers, result.time
        yield [
            Cell(result.optimizer),
            Cell(with_spread(numbers)),
            Cell(with_decimals(numbers.median, decimals(numbers.std))),
            seeds(result.choice),
            Cell(result.choice.best.runs.label, chosen_among(result)),
            NOTHING if time is None else Cell(f"{time.num_reached} of {time.num_seeds}"),
            NOTHING if time is None else epochs(time),
            NOTHING if time is None else seconds(time),
        ]


def headline(problem: ProblemResult, rule: Rule) -> str:
    """What the numbers of a table are, in a sentence or three."""
    measure = problem.measure
    when = "where a run was best" if rule == "best" else "at the end of a run"
    direction = "lower" if measure.lower_is_better else "higher"
    most = "the one run on most seeds, then " if rule == "most" else ""
    if max(len(one.choice.ranked) for one in problem.results) > 1:
        chosen = f" The best setting is {most}the best by mean {measure.chosen_by}."
    else:
        chosen = ""
    return f"{measure.reported} {when}, {direction} is better.{chosen}{_target(problem, rule)}"


def _target(problem: ProblemResult, rule: Rule) -> str:
    if problem.target is None:
        return ""
    when = "where it is best" if rule == "best" else "at the end"
    origin = f", what the middle optimizer's median seed has {when}" if problem.is_own_target else ""
    return f" Target: {number(problem.target, 6)}{origin}."


def chosen_among(result: OptimizerResult) -> str:
    """How many settings were tried, and what became of them."""
    count, short = len(result.choice.ranked), sum(not one.competes for one in result.choice.ranked)
    details = [f"best of {count}"] if count > 1 else []
    details += [f"{short} for fewer epochs"] if short else []
    details += [f"{result.num_diverged} of {result.num_runs} runs diverged"] if result.num_diverged else []
    return ", ".join(details)


def seeds(choice: Choice) -> Cell:
    """How many, and what became of those on which the setting was chosen."""
    numbers = choice.numbers
    details = [f"{numbers.num_diverged} diverged"] if numbers.num_diverged else []
    if choice.tuning_seeds and choice.is_fresh:
        left = choice.tuning_seeds
        details.append(f"without {f'seed {left[0]}' if len(left) == 1 else f'{len(left)} tuning seeds'}")
        return Cell(f"{numbers.num_seeds} fresh", ", ".join(details))
    return Cell(str(numbers.num_seeds), ", ".join(details))


def decimals(spread: float) -> int | None:
    """As many as show two digits of a spread; None where there is none to go by."""
    return None if not spread > 0 else min(10, max(0, 1 - math.floor(math.log10(spread))))


def with_decimals(value: float, places: int | None) -> str:
    """A number with so many decimals, or five digits."""
    if places is None or not math.isfinite(value):
        return number(value, 5)
    return f"{value:,.{places}f}"


def with_spread(numbers: Spread) -> str:
    """`0.9228 ± 0.0019`; without a spread the mean alone."""
    if math.isnan(numbers.mean):
        return "diverged"
    places = decimals(numbers.std)
    return f"{with_decimals(numbers.mean, places)} ± {'?' if places is None else f'{numbers.std:.{places}f}'}"


def epochs(time: TimeToTarget) -> Cell:
    """The median, and the restricted mean where a run did not reach the target."""
    median = number(time.median_epochs) if math.isfinite(time.median_epochs) else f"> {number(time.horizon)}"
    if time.num_reached in (0, time.num_seeds):
        return Cell(median)
    return Cell(median, f"mean up to {number(time.horizon)}: {number(time.restricted_mean_epochs, 3)}")


def seconds(time: TimeToTarget) -> Cell:
    """The median; nothing where no time was recorded or fewer than half reached the target."""
    return Cell(duration(time.median_seconds)) if math.isfinite(time.median_seconds) else NOTHING


def difference(found: Difference, places: int | None = None) -> str:
    """The mean difference with its interval."""
    if math.isnan(found.low):
        return number(found.mean, 3)
    digits = decimals(found.high - found.low) if places is None else places
    ends = f"{with_decimals(found.low, digits)} to {with_decimals(found.high, digits)}"
    return f"{'+' if found.mean > 0 else ''}{with_decimals(found.mean, digits)} ({ends})"


def cautions(summary: Summary) -> Iterator[tuple[str, str]]:
    """Whom a caution is about, and what it says; one that several optimizers share is said once."""
    shared: dict[tuple[str, str], list[str]] = {}
    for caution in summary.cautions:
        shared.setdefault((caution.problem, caution.text), []).append(caution.optimizer)
    for (problem, text), names in shared.items():
        yield ", ".join([problem, *filter(None, names)]), text


def verdict(found: Difference) -> str:
    """Who is better, by name, or that nothing shows it."""
    if found.verdict == "first is better":
        return f"{found.first} is better"
    if found.verdict == "second is better":
        return f"{found.second} is better"
    return found.verdict


def p_value(p: float) -> str:
    """Three digits; tiny ones as a bound."""
    if math.isnan(p):
        return "-"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def good_range(found: Sensitivity) -> str:
    """How wide the range of good values is."""
    keeps = f"keeps {number(100 * (1 - found.share))} % of what the best gains"
    if found.window is None:
        return f"no {found.hyperparameter} is better than the untrained model"
    low, high, wide, reaches_edge = found.window
    if low == high:
        return f"only {found.hyperparameter} {tick(low)} {keeps}"
    least = "at least " if reaches_edge else ""
    return f"{found.hyperparameter} {tick(low)} to {tick(high)} {keeps}: {least}{wide:.1f} decades"


def tick(value: float) -> str:
    """A hyperparameter's value, short.

    >>> tick(0.00025118864315), tick(0.1584893), tick(12.589)
    ('2.5e-4', '0.16', '13')
    """
    return label(float(f"{value:.2g}"), value / 1000)
