"""The protocol of `regimen tune`: choose by validation rows with tuning seeds, then train the choice with fresh ones.

    report = tune("tune.yaml")

Every run that ends becomes a line of the study's log; whatever interrupts a study, the same call goes on with it. The
numbers of the report come from the fresh seeds alone, and test numbers are read there, once.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from regimen.errors import DiskFull, Diverged, Problem, RecordError, ResumeRefused, Stopped, StrategyFailed
from regimen.readable import duration, number
from regimen.records.index import indexed
from regimen.records.reader import load
from regimen.study.checking import courses
from regimen.study.course import Course
from regimen.study.description import TuneSpec, described, read_tune
from regimen.study.grouping import grouped, one_request
from regimen.study.outcome import epochs_of, judged, reached
from regimen.study.report import StudyReport, reported, write_study_report
from regimen.study.trial import Place, Status, Trial, Wanted
from regimen.study.triallog import TrialLog
from regimen.study.warmprocess import WarmProcess
from regimen.study.workshop import Answer, Workshop

Say = Callable[[str], None]
_HOPELESS = 5
"""So many runs that fail before one trains end the study: what is wrong is not the setting."""


@dataclass
class Study:
    """A study that is going on: its description, its log, and who works on it."""

    spec: TuneSpec
    log: TrialLog
    workshop: Workshop
    courses: list[Course]
    say: Say
    stopping: bool = False
    pending: set[Place] = field(default_factory=set)
    discarded: set[str] = field(default_factory=set)
    """Folders of runs whose checkpoints are gone."""
    singly: set[Place] = field(default_factory=set)
    """Runs whose process ended while it trained several."""

    def finish(self, *, train: bool = True) -> None:
        """Does every run that is wanted, or takes into the log what ran elsewhere, and trains nothing.

        Raises `Stopped` when asked to stop, with everything kept.
        """
        with self._stopping_on_signals():
            while True:
                self._hand_out(train)
                if self.workshop.is_idle:
                    break
                self._take(self.workshop.wait())
        self.pending.clear()
        if self.stopping:  # set by a signal
            text = f"stopped with {len(self.log.trials)} runs in the log of {self.log.folder}."
            raise Stopped(Problem("", text, "The same command goes on from here."))

    def wanted(self) -> list[tuple[Course, Wanted]]:
        """What can be done now, in the order in which it is."""
        return [(course, run) for course in self.courses for run in course.wanted()]

    def _hand_out(self, train: bool) -> None:
        if self.stopping or not self.workshop.num_free:
            return
        waiting = [(course, run) for course, run in self.wanted() if run.place not in self.pending]
        replicas = self.spec.tune.replicas if train else "off"
        groups = grouped(waiting, replicas, self.workshop.processes, self.singly)
        for group in groups[: self.workshop.num_free]:
            self.pending |= {run.place for _, run in group}
            self.workshop.submit(one_request([_request(course, run, train) for course, run in group], replicas))

    def _take(self, answer: Answer) -> None:
        if answer.died is not None and "requests" in answer.request:  # one of them may have killed the others
            places = {Place(*request["place"]) for request in answer.request["requests"]}
            self.singly |= places
            self.pending -= places
            self.workshop.look_up(_index(self.log.folder))  # what each has saved is gone on with
            return
        for part in answer.parts():
            self._take_one(part)

    def _take_one(self, answer: Answer) -> None:
        if "absent" in answer.body:
            return  # and stays pending, so that it is not looked for again
        place = Place(*answer.request["place"])
        self.pending.discard(place)
        course = next(course for course in self.courses if course.task == place.task)
        if isinstance(answer.error, Stopped) or (self.stopping and answer.died is not None):
            return
        if isinstance(answer.error, DiskFull | RecordError | ResumeRefused):
            raise answer.error
        trial = _trial(course, answer)
        self.log.append(trial)
        self.say(self._line(trial))
        self._check_hope()
        self._discard(course)

    def _line(self, trial: Trial) -> str:
        most = sum(runs for course in self.courses for runs, _ in course.most())
        name = ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in trial.setting.items())
        value = "" if trial.value is None else f", {self.spec.tune.metric} {trial.value:.6g}"
        how = "found" if trial.found else duration(trial.seconds)
        rung = f" at epoch {number(trial.curve[-1].epoch)}" if len(self.courses[0].most()) > 2 and trial.curve else ""
        done = f"[{len(self.log.trials)}/{most}] {trial.place.task} · {trial.place.purpose}"
        return f"{done} · {name} · seed {trial.place.seed}: {trial.status}{rung}{value} ({how})"

    def _check_hope(self) -> None:
        """Raises `StrategyFailed` where nothing has trained and the reason is not the settings'."""
        trials = list(self.log.trials.values())
        if len(trials) >= _HOPELESS and all(trial.status in ("failed", "refused") for trial in trials):
            text = f"the first {len(trials)} runs failed, the last with: {trials[-1].message}"
            raise StrategyFailed(Problem(str(self.log.folder), text, "Correct that, and delete the folder."))

    def _discard(self, course: Course) -> None:
        """Frees the disk of checkpoints that nothing goes on from."""
        if self.spec.tune.keep_checkpoints:
            return
        for folder in course.dispensable():
            if folder not in self.discarded:
                shutil.rmtree(self.log.folder / folder / "checkpoints", ignore_errors=True)
                self.discarded.add(folder)

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """SIGTERM and the first Ctrl-C ask the runs to save and end; a second Ctrl-C ends them at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(signum: int, frame: FrameType | None) -> None:
            if self.stopping and signum == signal.SIGINT:
                raise KeyboardInterrupt
            self.stopping = True
            self.workshop.stop()

        before = {signum: signal.signal(signum, ask) for signum in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


def tune(
    source: str | Path | Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    say: Say = lambda text: None,
    warm: WarmProcess | None = None,
) -> StudyReport:
    """Does a study, or goes on with one, and returns its report, which is in the study's folder, too.

    `say` gets a line for each run that ends; `warm` lets several studies share the process that runs are forked from.
    Raises `SpecError`, `DataError` and `Refused` before anything is spent, `Stopped` when asked to stop, `Diverged`
    where no setting trained to the end with every seed.
    """
    with opened(read_tune(source, overrides), say, warm) as study:
        study.log.begin()
        study.finish()
        report = reported(study.spec, study.courses)
        write_study_report(report, study.log.folder)
    lost = [task.task for task in report.tasks if task.best is None]
    if lost:
        text, where = "no setting trained to the end with every seed.", study.log.folder / "report.txt"
        raise Diverged(Problem(", ".join(lost), text, f"{where} says what became of them."), 0)
    return report


@contextmanager
def opened(spec: TuneSpec, say: Say, warm: WarmProcess | None = None) -> Iterator[Study]:
    """A study with everything checked, and nothing run yet. A folder that was made for nothing goes again."""
    log = TrialLog(spec.folder, spec.identity)
    try:
        with Workshop(spec.folder, spec.tune.num_processes, index=_index(spec.folder), warm=warm) as workshop:
            found = courses(spec, workshop, log.trials)
            for course in found:
                course.check_log()
                if course.restarts and len(course.tuner.most()) > 1:
                    say(f"{course.task}: each rung trains from the start: {course.restarts}.")
            yield Study(spec, log, workshop, found, say)
    except KeyboardInterrupt as error:  # before the first run, or a second one
        text = f"stopped at once; what has ended is in {log.folder}."
        raise Stopped(
            Problem("", text, "The same command goes on, with other runs from their last checkpoints.")
        ) from error
    finally:
        log.close()


def _index(folder: Path) -> dict[str, str]:
    """Runs of the study that are there already, by content; of two with the same, the one that ended."""
    rows = indexed(folder / "runs").rows if (folder / "runs").is_dir() else []
    order = {"completed": 3, "diverged": 2, "running": 2, "stopped": 1, "lost": 1}
    return {row.content: str(row.folder) for row in sorted(rows, key=lambda row: (order.get(row.status, 0), row.id))}


def _request(course: Course, run: Wanted, train: bool) -> dict[str, Any]:
    """What a process is asked: to see that a run has ended, or only whether it has."""
    same = [t for t in course.log.values() if t.place.seed == run.place.seed and t.setting == run.setting and t.folder]
    return {
        "do": "settle",
        "train": train,
        "place": list(run.place),
        "setting": dict(run.setting),
        "epochs": run.epochs,
        "description": described(course.base, run.setting, run.place.seed, run.epochs)[0],
        "known": {trial.content: str(course.folder / trial.folder) for trial in same},
        "goes_on_from": run.goes_on_from,
        "epochs_before": run.epochs_before,
    }


def _trial(course: Course, answer: Answer) -> Trial:
    """The line of a run that has ended."""
    place, setting = Place(*answer.request["place"]), answer.request["setting"]
    now = time.time()
    if answer.error or answer.died is not None:
        status: Status = "refused" if answer.error and answer.error.exit_code in (2, 3) else "failed"
        message = str(answer.error) if answer.error else f"its process ended with code {answer.died}"
        return Trial(place, setting, status, None, (), None, 0.0, message=message, at=now)
    record = load(answer.body["folder"])
    budget = answer.request["epochs"] or course.epochs
    curve = reached(record, course.tune.metric, budget)
    ended: Status = record.status if record.status in ("completed", "diverged", "refused") else "failed"
    epochs = epochs_of(record, budget)
    before = answer.request["epochs_before"] if record.resumes and answer.request["goes_on_from"] else 0.0
    return Trial(
        place,
        setting,
        ended,
        judged(curve, course.tune.at, course.mode) if ended == "completed" else None,
        curve,
        None if epochs is None else max(0.0, epochs - before),
        answer.body["seconds"],
        folder=os.path.relpath(record.folder, course.folder),
        content=answer.body["content"],
        message=str(record.state.get("message", "")),
        found=answer.body["found"],
        at=now,
    )
