"""Runs a description: checks it, refuses it or trains it, and keeps the record. The one door behind Python and command
line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regimen.checkpoint import Checkpoints, identity_of, verify
from regimen.document import Document
from regimen.endings import as_ours, ending_together, stopping_on_signals
from regimen.errors import Problem, Refused, ResumeRefused
from regimen.handle import Run
from regimen.identity import new_id, run_folder
from regimen.prepared import Prepared, prepare
from regimen.processes import Processes
from regimen.recording import recorded
from regimen.records.reader import Record, load
from regimen.records.writer import Listener
from regimen.spec import changed_settings

__all__ = ["Prepared", "prepare", "resume", "run"]


def run(
    source: str | Path | Mapping[str, Any] | Document, overrides: Iterable[str] = (), listeners: Sequence[Listener] = ()
) -> Record:
    """Trains what a YAML file or a mapping describes, and returns its record.

    Raises what went wrong (see `regimen.errors`) after it has been recorded; settings and files that are wrong leave no
    folder.

    >>> spec = {"task": "sorting", "strategy": "sft", "budget": {"steps": 100}}
    >>> record = regimen.run(spec)  # doctest: +SKIP
    """
    prepared = prepare(source, overrides)
    folder, run_id = Processes.join(prepared.spec.device).agreed((run_folder(prepared.spec), new_id()))
    return _record(prepared, folder, run_id, listeners)


def resume(
    folder: str | Path,
    overrides: Iterable[str] = (),
    *,
    allow_changes: bool = False,
    listeners: Sequence[Listener] = (),
) -> Record:
    """Goes on with a run from its newest good checkpoint, or from the start if it has none.

    Raises `ResumeRefused` if data, settings, code or versions differ from those of the checkpoint, naming them; with
    `allow_changes` they are noted in the record instead.
    """
    record = load(folder)
    overrides = list(overrides)
    if record.status == "completed" and not (allow_changes and overrides):
        fix = "Start another run, or extend it: --set budget.epochs=... --allow-changes."
        raise Refused(Problem(str(folder), "has completed.", fix))
    with _in_folder(Path(record.spec["folder"])):
        prepared = prepare(Document(record.spec["passed"], str(Path(folder) / "spec.yaml")), overrides)
        return _record(
            prepared, record.folder.resolve(), record.id, listeners, resuming=True, allow_changes=allow_changes
        )


def _record(
    prepared: Prepared,
    folder: Path,
    run_id: str,
    listeners: Sequence[Listener],
    *,
    resuming: bool = False,
    allow_changes: bool = False,
) -> Record:
    processes = Processes.join(prepared.spec.device)
    checkpoints = Checkpoints(folder, identity=prepared.identity)
    changes = _changes(checkpoints, prepared.identity) if resuming else []
    if changes and not allow_changes:
        fix = "Undo that, start a new run, or pass --allow-changes to go on and have it recorded."
        raise ResumeRefused(
            [Problem(str(folder), f"{change}.", fix if change is changes[-1] else "") for change in changes]
        )
    with ending_together(processes):
        if not processes.first:
            silent = Run.unrecorded(folder, prepared.spec, checkpoints=checkpoints, resuming=resuming)
            _follow(prepared, silent, processes)
            return Record(folder)
        with recorded(
            prepared, folder, run_id, listeners=listeners, resuming=resuming, processes=processes
        ) as recording:
            recording.train(changes=changes)
    return Record(folder)


def _follow(prepared: Prepared, handle: Run, processes: Processes) -> None:
    """Trains with the first process, which keeps the record."""
    if prepared.errors:
        raise Refused(prepared.errors)
    processes.agreed(None)  # the folder is there, and no wish of yesterday to stop
    with stopping_on_signals(handle):
        try:
            prepared.strategy.train(prepared.task, handle)
        except BaseException as error:  # noqa: BLE001 - raised again, as one of ours
            ours = as_ours(error, prepared.spec, processes)
            raise ours from (None if ours is error else error)


def _changes(checkpoints: Checkpoints, identity: Mapping[str, Any]) -> list[str]:
    """What differs between now and the newest checkpoint, in sentences."""
    good = [path for path in checkpoints.paths() if verify(path) is None]
    if not good:
        return []
    old = identity_of(good[-1])
    found = [
        f"{path} was {before!r} and is {after!r}"
        for path, (before, after) in changed_settings(old["settings"], identity["settings"]).items()
    ]
    if old["data"] != identity["data"]:
        found.append("the data has changed since the checkpoint was written")
    if old["code"] != identity["code"]:
        found.append("the strategy's file has changed since the checkpoint was written")
    return found + [
        f"{name} was {old['versions'].get(name)} and is {now}"
        for name, now in identity["versions"].items()
        if old["versions"].get(name) != now
    ]


@contextmanager
def _in_folder(folder: Path) -> Iterator[None]:
    """In the folder where the run was started, so that its relative paths mean what they meant."""
    before = Path.cwd()
    if folder.is_dir():
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
