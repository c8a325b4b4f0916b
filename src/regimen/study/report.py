"""The report of a study: the numbers of the fresh seeds, what they cost, and what a reader must know about them."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from regimen.events import SCHEMA_VERSION
from regimen.readable import duration, number
from regimen.records.reader import Record, load
from regimen.records.writer import replace_file, write_json
from regimen.study.course import Course
from regimen.study.description import TuneSpec
from regimen.study.methods import Grid, Halving, Listed
from regimen.study.ranking import Standing
from regimen.study.trial import Trial

_SPLITS = ("valid", "test", "train_eval")
_FEW = 5


class Summary(NamedTuple):
    """One metric over the fresh seeds that completed."""

    n: int
    mean: float
    std: float | None
    """Over n - 1; None for one seed."""
    median: float
    values: dict[int, float]
    """By seed."""


class Cost(NamedTuple):
    """What runs cost."""

    runs: int
    epochs: float
    seconds: float
    """Of all processes added up."""
    unknown: int
    """Runs that did not record their epochs; they count 0."""


@dataclass(frozen=True)
class TaskReport:
    """What came out for one task."""

    task: str
    strategy: str
    best: Standing | None
    """While tuning; None where no setting trained with every seed."""
    results: Mapping[str, Summary]
    """By metric, of the fresh seeds alone; without a rerun, empty."""
    target: Mapping[int, float | None]
    """By fresh seed, the epoch at which the target was reached; None for a run that did not reach it."""
    statuses: Mapping[str, int]
    """How the tuning runs ended."""
    tuning: Cost
    reruns: Cost
    standings: Sequence[Standing]
    warnings: Sequence[str]


@dataclass(frozen=True)
class StudyReport:
    """A study that is done."""

    folder: Path
    description: Mapping[str, Any]
    metric: str
    tasks: Sequence[TaskReport]

    def to_json(self) -> dict[str, Any]:
        """All of it, as `report.json` has it."""
        tasks = [_plain(task) for task in self.tasks]
        return {
            "schema_version": SCHEMA_VERSION,
            "metric": self.metric,
            "tasks": tasks,
            "description": self.description,
        }

    def text(self) -> str:
        """As a table, for a terminal."""
        return "\n\n".join(_told(task, self.metric) for task in self.tasks)


def reported(spec: TuneSpec, courses: Sequence[Course]) -> StudyReport:
    """The report of what is in the log."""
    return StudyReport(spec.folder, spec.identity, spec.tune.metric, [_of_task(course) for course in courses])


def write_study_report(report: StudyReport, folder: Path) -> None:
    """`report.json` and `report.txt`."""
    write_json(folder / "report.json", report.to_json())
    replace_file(folder / "report.txt", (report.text() + "\n").encode())


def _of_task(course: Course) -> TaskReport:
    tuning, reruns, standings, best = course.trials("tuning"), course.trials("rerun"), course.standings(), course.best()
    completed = {t.place.seed: load(course.folder / t.folder) for t in reruns if t.status == "completed"}
    results = _results(completed, course)
    return TaskReport(
        course.task,
        str(_name(course.base["strategy"])),
        best,
        results,
        {trial.place.seed: _first(trial, course) for trial in reruns} if course.tune.target is not None else {},
        Counter(trial.status for trial in tuning),
        _cost(tuning),
        _cost(reruns),
        standings,
        list(_warnings(course, tuning, reruns, standings, results)),
    )


def _name(strategy: object) -> object:
    return strategy.get("name") if isinstance(strategy, Mapping) else strategy


def _results(records: Mapping[int, Record], course: Course) -> dict[str, Summary]:
    """At the end of training, or where the validation metric was best: never where a test metric was."""
    values: dict[str, dict[int, float]] = {}
    for seed, record in records.items():
        curves = {name: points for name, points in record.curves.items() if name.partition("/")[0] in _SPLITS}
        chosen = curves.get(course.tune.metric, [])
        step = None
        if course.tune.at == "best" and chosen:
            pick = min if course.mode == "min" else max
            finite = [point for point in chosen[1:] or chosen if math.isfinite(point.value)]
            step = pick(finite, key=lambda point: point.value).step if finite else None
        for name, points in curves.items():
            at = [point.value for point in points if step in (None, point.step)]
            if at:
                values.setdefault(name, {})[seed] = at[-1]
    return {name: _summary(by_seed) for name, by_seed in sorted(values.items())}


def _summary(by_seed: Mapping[int, float]) -> Summary:
    numbers = list(by_seed.values())
    std = statistics.stdev(numbers) if len(numbers) > 1 and all(map(math.isfinite, numbers)) else None
    return Summary(len(numbers), statistics.fmean(numbers), std, statistics.median(numbers), dict(by_seed))


def _first(trial: Trial, course: Course) -> float | None:
    """The epoch at which the target was first reached."""
    target = course.tune.target
    assert target is not None
    better = [at.epoch for at in trial.curve if (at.value <= target if course.mode == "min" else at.value >= target)]
    return better[0] if better else None


def _cost(trials: Sequence[Trial]) -> Cost:
    known = [trial.epochs for trial in trials if trial.epochs is not None]
    return Cost(len(trials), sum(known), sum(trial.seconds for trial in trials), len(trials) - len(known))


def _warnings(
    course: Course,
    tuning: Sequence[Trial],
    reruns: Sequence[Trial],
    standings: Sequence[Standing],
    results: Mapping[str, Summary],
) -> list[str]:
    best, tune, said = course.best(), course.tune, list[str]()
    if best is None:
        return ["no setting trained to the end with every seed: there is nothing to report."]
    drawn = not isinstance(tune.method, Grid | Listed) and not (
        isinstance(tune.method, Halving) and tune.method.draw == "grid"
    )
    for path, dimension in tune.space.items():
        edge = dimension.edge(best.setting[path], drawn=drawn)
        if edge:
            further = "smaller" if edge == "low" else "larger"
            text = f"the best {path}, {best.setting[path]:g}, lies at the {edge} edge of its space"
            said.append(f"{text}: {further} values may be better. Widen the space.")
    failed = [trial for trial in reruns if trial.status != "completed"]
    if failed:
        seeds = ", ".join(f"{trial.place.seed} {trial.status}" for trial in failed)
        said.append(
            f"{len(failed)} of {len(reruns)} reruns did not complete (seed {seeds}); the numbers are of the others."
        )
    if not tune.fresh_seeds:
        said.append("no rerun with fresh seeds was asked for: the tuning number flatters the setting it chose.")
    elif len(tune.fresh_seeds) < _FEW:
        said.append(f"{len(tune.fresh_seeds)} fresh seeds say little about the spread; {_FEW} and more say something.")
    if best.rung < len(course.tuner.most()) - 1:
        said.append("no setting completed the last rung; the best one is of a rung below it.")
    return said + _about_the_choice(course, standings, results) + _about_the_target(course, reruns)


def _about_the_choice(course: Course, standings: Sequence[Standing], results: Mapping[str, Summary]) -> list[str]:
    """Whether the choice could as well have been another one."""
    again = results.get(course.tune.metric)
    rivals = [each for each in standings[1:] if each.value is not None and each.rung == standings[0].rung]
    if not rivals or again is None or not again.std:
        return []
    best, second = standings[0].value, rivals[0].value
    assert best is not None
    assert second is not None
    close = [each for each in rivals if each.value is not None and abs(each.value - best) < again.std]
    if not close:
        return []
    text = f"{len(close)} more came as near to the best while tuning as seeds lie apart ({number(again.std)})"
    return [f"{text}, the second at {number(abs(second - best))}: another setting may be as good."]


def _about_the_target(course: Course, reruns: Sequence[Trial]) -> list[str]:
    epochs = [_first(trial, course) for trial in reruns] if course.tune.target is not None else []
    if epochs and all(epoch is not None and epoch <= 1 for epoch in epochs):
        return ["every rerun reached the target within one epoch: it tells nothing apart. Set a harder one."]
    return []


# ------------------------------------------------------------------------------------------------ as JSON, as text


def _plain(task: TaskReport) -> dict[str, Any]:
    return {
        "task": task.task,
        "strategy": task.strategy,
        "best": None if task.best is None else task.best._asdict() | {"setting": dict(task.best.setting)},
        "results": {name: summary._asdict() for name, summary in task.results.items()},
        "target": dict(task.target),
        "statuses": dict(task.statuses),
        "cost": {"tuning": task.tuning._asdict(), "reruns": task.reruns._asdict()},
        "standings": [each._asdict() | {"setting": dict(each.setting)} for each in task.standings],
        "warnings": list(task.warnings),
    }


def _told(task: TaskReport, metric: str) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(task.statuses.items()))
    lines = [f"{task.task} · {task.strategy}: {len(task.standings)} settings tried, runs: {counts}"]
    if task.best is not None:
        lines += [f"  best    {path} = {value}" for path, value in task.best.setting.items()]
        lines.append(f"          {metric} {number(task.best.value or 0.0, 6)} while tuning")
    if task.results:
        lines.append(f"  {'fresh seeds':<24} {'n':>3} {'mean':>12} {'std':>10} {'median':>12}")
    for name, each in task.results.items():
        std = "" if each.std is None else number(each.std)
        lines.append(f"  {name:<24} {each.n:>3} {number(each.mean, 6):>12} {std:>10} {number(each.median, 6):>12}")
    if task.target:
        hit = [epoch for epoch in task.target.values() if epoch is not None]
        median = f", median epoch {number(statistics.median(hit))}" if hit else ""
        lines.append(f"  target reached by {len(hit)} of {len(task.target)} reruns{median}")
    for word, cost in (("tuning", task.tuning), ("reruns", task.reruns)):
        more = f" and {cost.unknown} runs that did not record them" if cost.unknown else ""
        lines.append(f"  {word:<7} {cost.runs} runs, {number(cost.epochs)} epochs{more}, {duration(cost.seconds)}")
    return "\n".join([*lines, *(f"  warning: {warning}" for warning in task.warnings)])


def study_json(report: StudyReport) -> str:
    """`report.json` as text."""
    return json.dumps(report.to_json(), indent=1, ensure_ascii=False)
