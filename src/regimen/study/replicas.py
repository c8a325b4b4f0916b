"""Several runs of one test problem in one process: trained at once where that pays, each with a record of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, NamedTuple

from regimen.endings import stopping_on_signals
from regimen.errors import RegimenError, Stopped
from regimen.execute import Prepared
from regimen.identity import new_id, run_folder
from regimen.logfile import logged
from regimen.recording import Recording, recorded
from regimen.records.reader import Record, load

if TYPE_CHECKING:
    from regimen.benchmark.calibration import Candidate
    from regimen.benchmark.problem import Problem
    from regimen.benchmark.replicas import Replica

Notes = Mapping[int, str]
"""By place of a run, how it is trained and why: a sentence for its record."""


class Outcome(NamedTuple):
    """What became of a run."""

    record: Record
    error: RegimenError | None
    """What it raised, as its record has it."""


def run_together(runs: Sequence[Prepared], *, most: int | None = None, measured: bool = True) -> dict[int, Outcome]:
    """Trains runs that have been prepared, at once where a calibration says so; what became of each, by its place.

    At most `most` at once; unset: as many as fit into memory. Not `measured`: at once wherever weights agree, however
    long that takes. Asked to stop, it saves what trains, and runs that have not begun are not in the answer.
    Raises `DataError` where the problem's data cannot be read.
    """
    found: dict[int, Outcome] = {}
    for notes in _groups(runs, most, measured):
        train = _at_once if len(notes) > 1 else _alone
        found |= train(runs, notes)
        if any(isinstance(outcome.error, Stopped) for outcome in found.values()):
            break
    return found


def _groups(runs: Sequence[Prepared], most: int | None, measured: bool) -> Iterator[Notes]:
    """Runs that are trained at once, or one alone."""
    from regimen.benchmark.calibration import LEAST_STEPS, MARGIN, num_fitting, why_not_batched
    from regimen.benchmark.problem import Problem

    sound = [place for place, run in enumerate(runs) if not run.errors and isinstance(run.task, Problem)]
    yield from ({place: ""} for place in range(len(runs)) if place not in sound)
    if not sound:
        return
    problem, specs = runs[sound[0]].task, [runs[place].spec for place in sound]
    assert isinstance(problem, Problem)
    reason = why_not_batched(problem, specs, least=LEAST_STEPS if measured else 0)
    size = 1 if reason else min(most or len(sound), num_fitting(problem, specs[0]))
    if size < 2:
        reason = reason or "no two runs fit into memory, or are allowed"
        yield from ({place: f"trained by itself: {reason}."} for place in sound)
        return
    groups = math.ceil(len(sound) / size)
    for number in range(groups):  # of like size, so that none is left over alone
        yield from _calibrated(runs, sound[number::groups], problem, MARGIN if measured else 0.0)


def _calibrated(runs: Sequence[Prepared], places: Sequence[int], problem: Problem, margin: float) -> Iterator[Notes]:
    from regimen.benchmark.calibration import calibrate

    found = calibrate(problem, [_candidate(runs[place]) for place in places], margin=margin)
    if found.together:
        yield {places[index]: found.note(index) for index in found.together}
    yield from ({places[index]: found.note(index)} for index in found.why_not)


def _alone(runs: Sequence[Prepared], notes: Notes) -> dict[int, Outcome]:
    ((place, note),) = notes.items()
    folder = run_folder(runs[place].spec)
    try:
        with recorded(runs[place], folder, new_id()) as recording:
            recording.train(notes=[note] if note else [])
    except RegimenError as error:
        return {place: Outcome(load(folder), error)}
    return {place: Outcome(load(folder), None)}


def _at_once(runs: Sequence[Prepared], notes: Notes) -> dict[int, Outcome]:
    """Each record is closed as its run ends, while the others go on."""
    from regimen.benchmark.replicas import train_together

    found: dict[int, Outcome] = {}
    with ExitStack() as everything:
        closing = {place: everything.enter_context(ExitStack()) for place in notes}
        going = {place: closing[place].enter_context(_opened(runs[place])) for place in notes}
        for place, recording in going.items():
            recording.begin()
            recording.handle.note(notes[place])
            everything.enter_context(logged(recording.log))
        everything.enter_context(stopping_on_signals(*(recording.handle for recording in going.values())))
        try:
            replicas = list(_replicas(runs, going))
            places = list(notes)
            for index, outcome in train_together(replicas):
                recording = going.pop(places[index])
                error = _ended(recording, replicas[index], outcome)
                closing[places[index]].close()
                found[places[index]] = Outcome(load(recording.handle.folder), error)
        except BaseException as error:  # noqa: BLE001 - of the step that they share: recorded as the end of each
            for place, recording in going.items():
                found[place] = Outcome(load(recording.handle.folder), recording.fail(error))
    return found


def _opened(run: Prepared) -> AbstractContextManager[Recording]:
    return recorded(run, run_folder(run.spec), new_id())


def _replicas(runs: Sequence[Prepared], recordings: Mapping[int, Recording]) -> Iterator[Replica]:
    from regimen.benchmark.calibration import replica_of
    from regimen.benchmark.problem import Problem

    first = runs[next(iter(recordings))].task  # all have the same, and the data of this one have been read
    assert isinstance(first, Problem)
    for place, recording in recordings.items():
        yield replica_of(first, _candidate(runs[place]), recording.handle)


def _ended(recording: Recording, replica: Replica, outcome: dict[str, float] | Exception) -> RegimenError | None:
    """Writes down how a run ended; returns its error."""
    from regimen.benchmark.output import finals

    if isinstance(outcome, Exception):
        return recording.fail(outcome)
    try:
        recording.finish(finals(replica.history.output))
    except Stopped as error:
        return error
    return None


def _candidate(run: Prepared) -> Candidate:
    from regimen.benchmark.calibration import Candidate
    from regimen.benchmark.runner import Runner

    assert isinstance(run.strategy, Runner)
    return Candidate(run.spec, run.strategy)
