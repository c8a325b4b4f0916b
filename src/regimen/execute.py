"""Runs a description: checks it, refuses it or trains it, and keeps the record. The one door behind Python and command
line.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regimen.choices import CheckedSpec
from regimen.document import Document, check, read_document
from regimen.endings import as_ours, ending_together, plugins_named, status_of, stopping_on_signals
from regimen.environment import changed_circumstances, environment, package_version, read_environment
from regimen.errors import (
    Problem,
    Refused,
    ResumeRefused,
    SpecError,
    Stopped,
)
from regimen.events import in_json
from regimen.handle import STOP_FILE, Run
from regimen.identity import content_hash, new_id, run_folder
from regimen.logfile import logged
from regimen.processes import Processes
from regimen.published import usual_places
from regimen.records.reader import Record, load
from regimen.records.writer import Listener, RecordWriter
from regimen.report import write_report
from regimen.spec import changed_settings, identifying
from regimen.strategy import Finding, Strategy
from regimen.task import Task


@dataclass
class Prepared:
    """A description that has been read: its objects made, its data looked at, no weights loaded."""

    document: Document
    spec: CheckedSpec
    task: Task
    strategy: Strategy
    findings: list[Finding]

    @property
    def errors(self) -> list[Problem]:
        return [finding.problem for finding in self.findings if finding.level == "error"]

    @property
    def identity(self) -> dict[str, Any]:
        """What a resume must find again: settings, data, code, versions."""
        return {
            "settings": identifying(self.spec.model_dump(mode="json")),
            "data": self.task.fingerprint(),
            "code": self.spec.strategy.plugin.source_hash,
            "versions": {name: package_version(name) for name in ("regimen-ml", "torch")},
        }


def prepare(source: str | Path | Mapping[str, Any] | Document, overrides: Iterable[str] = ()) -> Prepared:
    """Checks settings and data, and asks the strategy whether it can. Spends nothing.

    Raises `SpecError` for settings and `DataError` for files; what the strategy and preflight say is in `findings`.
    """
    document = (source if isinstance(source, Document) else read_document(source)).with_overrides(overrides)
    spec = check(document, CheckedSpec, usual_places())
    _check_writable(spec.output)
    with plugins_named(spec.task.plugin, spec.strategy.plugin):
        task: Task = spec.task.plugin.make(spec.task)
        strategy: Strategy = spec.strategy.plugin.make(spec.strategy)
        if task.usual_budget and "budget" not in spec.model_fields_set:
            spec = spec.model_copy(update={"budget": task.usual_budget})
        task.cache = spec.output / ".cache"
        task.prepare()
        reason = strategy.why_not(task)
        if reason:
            refusal = Finding("error", Problem(f"strategy {spec.strategy.name}", reason))
            return Prepared(document, spec, task, strategy, [refusal])
        return Prepared(document, spec, task, strategy, [*_here(spec, task), *strategy.preflight(task, spec)])


def _check_writable(output: Path) -> None:
    """Raises `SpecError` where no run folder can be made, before anything is read. Leaves nothing behind."""
    there = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return  # said with path and need by what writes first
        text = f"is {str(output)!r}, and nothing can be written in {there}: {error.strerror}."
        raise SpecError(Problem("output", text, "Choose another folder.")) from error


def _here(spec: CheckedSpec, task: Task) -> Iterator[Finding]:
    """What this machine and this task cannot give, whatever the strategy."""
    from regimen.processes import why_no_device

    reason = why_no_device(spec.device)
    if reason:
        yield Finding("error", Problem("device", reason, "Choose device: auto or cpu."))
    split = (spec.checkpoint.best or "").partition("/")[0]
    rows = task.describe().get("rows")
    if split and isinstance(rows, Mapping) and split not in rows:
        text = f"is {spec.checkpoint.best!r}, and the task has no {split} rows; it has {', '.join(rows)}."
        yield Finding("error", Problem("checkpoint.best", text, "Give such rows, or remove checkpoint.best."))


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
    from regimen.checkpoint import Checkpoints

    processes = Processes.join(prepared.spec.device)
    identity = prepared.identity
    checkpoints = Checkpoints(folder, keep=prepared.spec.checkpoint.keep, identity=identity)
    changes = _changes(checkpoints, identity) if resuming else []
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
        writer = RecordWriter(folder, run_id)
        writer.listeners += listeners
        try:
            handle = Run(
                settings=prepared.spec,
                folder=folder,
                journal=writer,
                checkpoints=checkpoints,
                resuming=resuming,
                started=writer.had_metrics,
            )
            _recorded(prepared, handle, writer, changes, processes)
        finally:
            writer.close()
            _report(folder)
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


def _report(folder: Path) -> None:
    """Writes `report.html`; a report that cannot be written is no reason to hide how the run ended."""
    try:
        write_report(Record(folder))
    except Exception as error:  # noqa: BLE001 - said, and the run's own end goes on
        sys.stderr.write(f"regimen: the report of {folder} could not be written: {error}\n")


def _recorded(prepared: Prepared, handle: Run, writer: RecordWriter, changes: list[str], processes: Processes) -> None:
    """Trains, with every way to end written into the record."""
    resolved, identity = prepared.spec.model_dump(mode="json"), prepared.identity
    content = content_hash(resolved, identity["data"], identity["code"])
    (handle.folder / STOP_FILE).unlink(missing_ok=True)
    writer.write_spec(
        prepared.document.data,
        resolved,
        content=content,
        data=identity["data"],
        code=identity["code"],
        folder=str(Path.cwd()),
    )
    if prepared.errors:
        writer.status("refused", exit_code=Refused.exit_code, message="\n".join(map(str, prepared.errors)))
        raise Refused(prepared.errors)
    now = environment(threads=prepared.spec.threads, device=str(processes.device), processes=processes.world)
    for difference in changed_circumstances(read_environment(handle.folder), now):
        handle.note(f"resumed {difference}.")
    writer.write_environment(now)
    writer.status("running", pid=os.getpid(), content=content)
    for change in changes:
        handle.note(f"resumed although {change}.")
    for finding in prepared.findings:
        handle.note(str(finding))
    processes.agreed(None)  # now the others may come
    with logged(handle.folder / "log.txt"), stopping_on_signals(handle):
        try:
            final = prepared.strategy.train(prepared.task, handle)
        except BaseException as error:  # noqa: BLE001 - raised again, as one of ours
            ours = as_ours(error, prepared.spec, processes)
            ours.__cause__ = error if ours is not error else error.__cause__
            with suppress(OSError), (handle.folder / "log.txt").open("a", encoding="utf-8") as log:
                traceback.print_exception(ours, file=log)
            with suppress(OSError):  # on a full disk it is `lost` to readers, and resumable all the same
                writer.status(status_of(ours), exit_code=ours.exit_code, message=str(ours), step=handle.spent.steps)
            raise ours from ours.__cause__
    if handle.stop_reason and not handle.budget.exhausted(handle.spent):
        stopped = Stopped(
            Problem("", f"stopped at step {handle.spent.steps}: {handle.stop_reason}.", "`regimen resume` goes on.")
        )
        writer.status("stopped", exit_code=stopped.exit_code, message=str(stopped), step=handle.spent.steps)
        raise stopped
    handle.begin()
    writer.status("completed", exit_code=0, message="", step=handle.spent.steps, final=in_json(final))


def _changes(checkpoints: Any, identity: Mapping[str, Any]) -> list[str]:
    """What differs between now and the newest checkpoint, in sentences."""
    from regimen.checkpoint import identity_of, verify

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
