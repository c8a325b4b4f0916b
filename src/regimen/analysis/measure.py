"""Which number runs are judged by: on which split it is reported, and on which the setting is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from regimen.analysis.runs import Curve, Run
from regimen.errors import Problem, SpecError, did_you_mean
from regimen.report.glossary import IMPORTANCE, meaning

Rule = Literal["final", "best", "most"]
"""final: the last evaluation; best: the best evaluation after the first; most: final, in the setting of most
seeds.
"""

_PREFERRED = ("accuracy", "loss", *IMPORTANCE)
_SPLITS = ("test", "valid", "train_eval")
"""The first that was measured is reported."""


class Measure(NamedTuple):
    """How the runs of one problem are judged."""

    reported: str
    """`test/accuracy`."""
    chosen_by: str
    """`valid/accuracy`; the reported one itself where nothing was measured on validation data."""
    lower_is_better: bool

    @property
    def is_honest(self) -> bool:
        """Whether the numbers are of other data than those that chose the setting."""
        return self.reported != self.chosen_by


def find_measures(runs: Iterable[Run], asked: str | None) -> dict[str, Measure | None]:
    """By problem; None for a problem that lacks the metric that was asked for.

    `asked` is a metric (`test/loss`) or its name alone (`loss`: test where it was measured, else valid); None: accuracy
    where there is one, else loss. Raises `SpecError` for one that no run has or that has no better direction.
    """
    by_problem: dict[str, list[Run]] = {}
    for run in runs:
        by_problem.setdefault(run.problem, []).append(run)
    measures = {problem: _measure(found, asked) for problem, found in by_problem.items()}
    if not any(measures.values()):
        known = sorted({key for run in runs for key in run.curves if _has_direction(key)})
        names = {key.partition("/")[2] for key in known}
        if asked is None:
            text = "no run has a metric of which lower or higher is better."
            raise SpecError(Problem("", text, "Record valid/loss, say."))
        hint = did_you_mean(asked, [*known, *names] if "/" not in asked else known)
        raise SpecError(Problem("--metric", f"{asked!r} was not measured in any run.", _with_choices(hint, known)))
    return measures


def _with_choices(hint: str, known: Sequence[str]) -> str:
    return hint if hint.startswith("Known") else f"{hint} Known: {', '.join(known)}."


def _has_direction(key: str) -> bool:
    return meaning(key).better != "neither"


def _measure(runs: Sequence[Run], asked: str | None) -> Measure | None:
    keys = {key: None for run in runs for key in run.curves if _has_direction(key)}
    names = dict.fromkeys(key.partition("/")[2] for key in keys)
    if asked is not None and "/" in asked:
        reported = asked if asked in keys else None
    else:
        wanted = [asked] if asked is not None else [*_PREFERRED, *names]
        candidates = [f"{split}/{name}" for name in wanted for split in _SPLITS]
        reported = next((key for key in candidates if key in keys), None)
    if reported is None:
        return None
    split, _, name = reported.partition("/")
    valid = f"valid/{name}"
    has_valid = split == "test" and all(valid in run.curves for run in runs if reported in run.curves)
    return Measure(reported, valid if has_valid else reported, meaning(reported).better == "lower")


def value_of(run: Run, key: str, measure: Measure, rule: Rule) -> float:
    """The number of one run: at its last evaluation, or for `best` at the one that was best by `measure.chosen_by`.

    The untrained model is not judged. NaN for a run that diverged or lacks the metric.
    """
    curve = run.curves.get(key)
    if curve is None or run.has_diverged or not curve.values:
        return math.nan
    if rule != "best":
        return curve.values[-1]
    chosen = run.curves.get(measure.chosen_by, curve)
    return _at(curve, best_epoch(chosen, lower_is_better=measure.lower_is_better))


def best_epoch(curve: Curve, *, lower_is_better: bool) -> float:
    """When a curve was best, the earliest of equals; the untrained model does not count if anything was trained."""
    trained = list(zip(curve.values, curve.epochs, strict=True))[1 if len(curve.values) > 1 else 0 :]
    sign = 1.0 if lower_is_better else -1.0
    return min(trained, key=lambda pair: (sign * pair[0], pair[1]))[1]


def _at(curve: Curve, epoch: float) -> float:
    return next((v for v, at in zip(curve.values, curve.epochs, strict=True) if at == epoch), math.nan)
