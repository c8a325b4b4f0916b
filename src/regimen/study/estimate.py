"""What a study would do and how long it would take: the runs, and seconds from recorded runs or from a short trial."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regimen.readable import duration, number
from regimen.study.course import Course
from regimen.study.description import described, read_tune
from regimen.study.trial import Wanted
from regimen.study.tuning import Say, Study, opened
from regimen.study.warmprocess import WarmProcess

_TRIAL_S = 5.0
"""How long a trial trains at most, evaluations included."""


@dataclass(frozen=True)
class Phase:
    """Runs of one length: a rung of the tuner, or the reruns."""

    name: str
    runs: int
    """At most: of what diverges, the rest is saved."""
    length: float | None
    """In the budget's unit, for one run; of a run that goes on from a checkpoint, what is added."""
    seconds: float | None
    """For one run; None where it could not be measured."""


@dataclass(frozen=True)
class TaskEstimate:
    """One task's part."""

    task: str
    unit: str
    phases: list[Phase]
    measured: str
    """Where the seconds come from."""

    @property
    def seconds(self) -> float | None:
        """Of all runs, one after the other."""
        parts = [None if phase.seconds is None else phase.runs * phase.seconds for phase in self.phases]
        return None if None in parts else sum(part for part in parts if part is not None)


@dataclass(frozen=True)
class Estimate:
    """A study that is not done yet."""

    tasks: list[TaskEstimate]
    next_runs: list[str]
    """What would be started first, one line a run."""
    num_done: int
    processes: int

    def text(self) -> str:
        """For a terminal."""
        lines = [f"the next {len(self.next_runs)} runs:", *(f"  {line}" for line in self.next_runs)]
        for task in self.tasks:
            lines.append(f"{task.task}: at most {sum(phase.runs for phase in task.phases)} runs")
            for phase in task.phases:
                length = "" if phase.length is None else f" of {number(phase.length)} {task.unit}"
                took = "" if phase.seconds is None else f", about {duration(phase.seconds)} each"
                lines.append(f"  {phase.name:<8} {phase.runs:>5} runs{length}{took}")
            lines.append(f"  {task.measured}")
        if self.num_done:
            lines.append(f"{self.num_done} runs are in the log already; they are counted above.")
        parts = [task.seconds for task in self.tasks]
        if None in parts:
            lines.append("no estimate: the budget is neither in epochs nor in steps.")
        else:
            total = sum(part for part in parts if part is not None)
            divided = duration(total / self.processes)
            lines.append(f"in all about {duration(total)} of training: {divided} with {self.processes} processes,")
            lines.append("less what diverges early, if each process has a core of its own.")
        return "\n".join(lines)


def estimated(
    source: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    say: Say = lambda text: None,
    warm: WarmProcess | None = None,
) -> Estimate:
    """Checks a study and estimates it; leaves no trace. Raises what `tune` would raise before training."""
    with opened(read_tune(source, overrides), say, warm) as study:
        wanted = study.wanted()
        tasks = [_of_task(study, course) for course in study.courses]
        lines = [_line(course, run) for course, run in wanted]
        return Estimate(tasks, lines, len(study.log.trials), study.spec.tune.num_processes)


def _line(course: Course, run: Wanted) -> str:
    words = described(course.base, run.setting, run.place.seed, run.epochs)[1]
    goes_on = f" (goes on from {run.goes_on_from})" if run.goes_on_from else ""
    return f"{course.task} {' '.join(words)}{goes_on}"


def _of_task(study: Study, course: Course) -> TaskEstimate:
    unit = next(iter(course.budget))
    startup_s, unit_s, measured = _speed(study, course, unit)
    names = [f"rung {level}" for level in range(len(course.tuner.most()))]
    names = [*(names if len(names) > 1 else ["tuning"]), "reruns"]
    phases: list[Phase] = []
    for name, (runs, epochs) in zip(names, course.most(), strict=True):
        length = course.budget[unit] if epochs is None else epochs
        seconds = None if unit_s is None else startup_s + length * unit_s
        phases.append(Phase(name, runs, length, seconds))
    return TaskEstimate(course.task, unit, phases, measured)


def _speed(study: Study, course: Course, unit: str) -> tuple[float, float | None, str]:
    """Seconds before the first step, seconds of one unit of the budget, and in words where they come from."""
    ended = [trial for trial in course.trials("tuning") if trial.status == "completed" and trial.epochs]
    if unit == "epochs" and ended:
        return 0.0, statistics.median(t.seconds / (t.epochs or 1.0) for t in ended), f"from {len(ended)} recorded runs"
    if unit not in ("epochs", "steps") or len(course.budget) > 1:
        return 0.0, None, "not measured"
    first = next((run for run in course.wanted()), None)
    if first is None:
        return 0.0, None, "nothing is left to do"
    said = study.workshop.ask(
        {
            "do": "measure",
            "description": described(course.base, first.setting, first.place.seed)[0],
            "unit": unit,
            "limit": course.budget[unit],
            "seconds": _TRIAL_S,
            "whole_epochs": course.whole_epochs,
        }
    )
    return said["startup_s"], said["unit_s"], f"measured by training for at most {duration(_TRIAL_S)}"
