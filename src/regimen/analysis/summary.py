"""All numbers of an analysis, in one typed tree: tables, differences, sensitivity, cautions.

summary = summarize(read_runs("runs"), Question(metric="test/accuracy"))
summary.problems[0].results[0].choice.numbers.mean
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from regimen.analysis.cautions import Caution, about_choice, about_problem
from regimen.analysis.choice import Choice, choose
from regimen.analysis.groups import RATES, OptimizerRuns, grouped
from regimen.analysis.measure import Measure, Rule, find_measures
from regimen.analysis.pairs import Compared, Difference, differences
from regimen.analysis.runs import Runs
from regimen.analysis.sensitivity import Sensitivity, sensitivity
from regimen.analysis.targets import TimeToTarget, time_to_target, usual_target
from regimen.errors import MissingExtra, Problem, SpecError, did_you_mean


@dataclass(frozen=True)
class Question:
    """What is asked of the runs."""

    metric: str | None = None
    """`test/accuracy`, or `accuracy` alone; None: accuracy where a problem has one, else loss."""
    rule: Rule | None = None
    """By which value of a run settings are chosen and reported; None: as the study that made the runs, else final."""
    targets: Mapping[str, float] = field(default_factory=dict)
    """By problem, or under `*` for every other one; without: what the middle optimizer reaches at the end."""
    keep_tuning_seeds: bool = False
    """Count the seeds on which a setting was chosen in its numbers, as DeepOBS does."""
    hyperparameter: str | None = None
    """Of which the sensitivity is measured; None: the learning rate."""
    within: float = 0.02
    """What sensitivity calls good: see `Sensitivity.share`."""


@dataclass(frozen=True)
class OptimizerResult:
    """One line of a problem's table, and what belongs to it."""

    optimizer: str
    choice: Choice
    time: TimeToTarget | None
    """None where there is no target."""
    sensitivity: Sensitivity | None
    num_runs: int
    """Of all settings, that have ended."""
    num_diverged: int
    """Of these."""


@dataclass(frozen=True)
class ProblemResult:
    """The table of one problem."""

    problem: str
    measure: Measure
    target: float | None
    is_own_target: bool
    """Whether the target was taken from these runs, and not given."""
    results: tuple[OptimizerResult, ...]
    """By mean, the best first."""


@dataclass(frozen=True)
class Summary:
    """Everything that an analysis has to say."""

    source: str
    question: Question
    rule: Rule
    """The one that was used."""
    num_runs: int
    problems: tuple[ProblemResult, ...]
    differences: tuple[Difference, ...]
    cautions: tuple[Caution, ...]
    notes: tuple[str, ...]
    """About the reading itself."""
    unreadable: tuple[tuple[str, str], ...]
    """Places that could not be read, and why."""


def summarize(runs: Runs, question: Question | None = None) -> Summary:
    """Every number that the runs give. Raises `SpecError` for a metric or problem that is not there. Without
    SciPy optimizers are not compared, and a note says so.
    """
    question = question or Question()
    rule: Rule = question.rule or ("best" if runs.at == "best" else "final")
    measures = find_measures(runs.runs, question.metric or runs.metric)
    _check_targets(question.targets, list(measures))
    _check_hyperparameter(question.hyperparameter, runs)
    cautions: list[Caution] = []
    problems = []
    for problem in sorted(measures):
        groups = grouped([run for run in runs.runs if run.problem == problem])
        measure = measures[problem]
        if measure is None:
            cautions.append(
                Caution("metric missing", problem, "", f"has no {question.metric or runs.metric}; left out.")
            )
            continue
        result, said = _problem(groups, measure, rule, question)
        cautions += said
        if result.results:
            problems.append(result)
    compared = [
        Compared(result.problem, one.optimizer, one.choice.numbers, result.measure.lower_is_better)
        for result in problems
        for one in result.results
    ]
    notes = list(runs.notes)
    found: list[Difference] = []
    if any(len(result.results) > 1 for result in problems):
        try:
            found = differences(compared)
        except MissingExtra as error:  # the numbers stand without it, and the page says what is missing
            notes.append(str(error))
    return Summary(
        source=runs.source,
        question=question,
        rule=rule,
        num_runs=len(runs.runs),
        problems=tuple(problems),
        differences=tuple(found),
        cautions=tuple(cautions),
        notes=tuple(notes),
        unreadable=tuple((str(bad.folder), bad.why) for bad in runs.unreadable),
    )


def _check_targets(targets: Mapping[str, float], problems: Sequence[str]) -> None:
    for problem in targets:
        if problem != "*" and problem not in problems:
            text = f"names the problem {problem!r}, which no run trained."
            raise SpecError(Problem("--target", text, did_you_mean(problem, problems)))


def _check_hyperparameter(name: str | None, runs: Runs) -> None:
    known = {key for run in runs.runs for key in run.setting}
    if name is not None and name not in known:
        raise SpecError(Problem("--hyperparameter", f"{name!r} is in no setting.", did_you_mean(name, known)))


def _problem(
    groups: Sequence[OptimizerRuns], measure: Measure, rule: Rule, question: Question
) -> tuple[ProblemResult, list[Caution]]:
    problem = groups[0].problem
    chosen = [
        (group, choice)
        for group in groups
        if (choice := choose(group, measure, rule, keep_tuning_seeds=question.keep_tuning_seeds)) is not None
    ]
    given = question.targets.get(problem, question.targets.get("*"))
    target = usual_target([choice for _, choice in chosen], measure) if given is None else given
    results = [_result(group, choice, measure, target, question) for group, choice in chosen]
    cautions = [
        *about_problem(
            problem,
            measure,
            {one.optimizer: one.choice.best.runs.budget for one in results},
            {one.optimizer: one.time for one in results if one.time is not None},
            was_tuned=any(len(one.choice.ranked) > 1 for one in results),
        ),
        *(caution for group, choice in chosen for caution in about_choice(group, choice, measure, rule)),
    ]
    sign = 1.0 if measure.lower_is_better else -1.0
    results.sort(key=lambda one: (one.choice.numbers.mean != one.choice.numbers.mean, sign * one.choice.numbers.mean))
    return ProblemResult(problem, measure, target, given is None, tuple(results)), cautions


def _result(
    group: OptimizerRuns, choice: Choice, measure: Measure, target: float | None, question: Question
) -> OptimizerResult:
    ended = list(group.runs)
    setting = choice.best.runs.setting
    varied = question.hyperparameter or next((name for name in RATES if name in setting), RATES[0])
    return OptimizerResult(
        optimizer=group.optimizer,
        choice=choice,
        time=None if target is None else time_to_target(choice.runs, measure, target),
        sensitivity=sensitivity(choice, measure, varied, question.within),
        num_runs=len(ended),
        num_diverged=sum(run.has_diverged for run in ended),
    )
