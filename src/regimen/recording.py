"""The record of a run while it trains, from its first line to how it ended. Several can be open in one process."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from regimen.checkpoint import Checkpoints
from regimen.endings import as_ours, status_of, stopping_on_signals
from regimen.environment import changed_circumstances, environment, read_environment
from regimen.errors import Problem, Refused, RegimenError, Stopped
from regimen.events import in_json
from regimen.handle import STOP_FILE, Run
from regimen.identity import content_hash
from regimen.logfile import logged
from regimen.prepared import Prepared
from regimen.processes import Processes
from regimen.records.reader import Record
from regimen.records.writer import Listener, RecordWriter
from regimen.report import write_report


@contextmanager
def recorded(
    prepared: Prepared,
    folder: Path,
    run_id: str,
    *,
    listeners: Sequence[Listener] = (),
    resuming: bool = False,
    processes: Processes | None = None,
) -> Iterator[Recording]:
    """Opens the record of a run for writing. Afterwards it is closed, and its page is written.

    Raises `RecordError` if another process trains this run.
    """
    writer = RecordWriter(folder, run_id)
    writer.listeners += listeners
    try:
        handle = Run(
            settings=prepared.spec,
            folder=folder,
            journal=writer,
            checkpoints=Checkpoints(folder, keep=prepared.spec.checkpoint.keep, identity=prepared.identity),
            resuming=resuming,
            started=writer.had_metrics,
        )
        yield Recording(prepared, handle, writer, processes or Processes.join(prepared.spec.device))
    finally:
        writer.close()
        _report(folder)


class Recording:
    """A run that is being recorded: `begin`, train with `handle`, then `finish` or `fail`; `train` does all of it."""

    def __init__(self, prepared: Prepared, handle: Run, writer: RecordWriter, processes: Processes) -> None:
        self.prepared, self.handle, self.processes = prepared, handle, processes
        self._writer = writer

    def train(self, *, changes: Iterable[str] = (), notes: Iterable[str] = ()) -> None:
        """Trains in this process. Raises what went wrong, after it has been recorded."""
        self.begin(changes)
        for note in notes:
            self.handle.note(note)
        self.processes.agreed(None)  # now the others may come
        with logged(self.log), stopping_on_signals(self.handle):
            try:
                final = self.prepared.strategy.train(self.prepared.task, self.handle)
            except BaseException as error:  # noqa: BLE001 - raised again, as one of ours
                ours = self.fail(error)
                raise ours from ours.__cause__
        self.finish(final)

    @property
    def log(self) -> Path:
        """Where what is printed goes."""
        return self.handle.folder / "log.txt"

    def begin(self, changes: Iterable[str] = ()) -> None:
        """Writes what is known before training. `changes` are what differs from the checkpoint that it goes on from.

        Raises `Refused`, recorded, where preflight found an error.
        """
        prepared, handle, writer = self.prepared, self.handle, self._writer
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
        here = self.processes
        now = environment(threads=prepared.spec.threads, device=str(here.device), processes=here.world)
        for difference in changed_circumstances(read_environment(handle.folder), now):
            handle.note(f"resumed {difference}.")
        writer.write_environment(now)
        writer.status("running", pid=os.getpid(), content=content)
        for change in changes:
            handle.note(f"resumed although {change}.")
        for finding in prepared.findings:
            handle.note(str(finding))

    def fail(self, error: BaseException) -> RegimenError:
        """Records what training raised, and returns it as one of ours, to be raised."""
        ours = as_ours(error, self.prepared.spec, self.processes)
        cause = error if ours is not error else error.__cause__
        if isinstance(ours, Stopped):
            ours = Stopped([Problem(place, what, fix or self._how_to_go_on) for place, what, fix in ours.problems])
        ours.__cause__ = cause
        with suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            if isinstance(ours, Stopped):  # nothing went wrong
                log.write(f"{ours}\n")
            else:
                traceback.print_exception(ours, file=log)
        with suppress(OSError):  # on a full disk it is `lost` to readers, and resumable all the same
            self._writer.status(status_of(ours), exit_code=ours.exit_code, message=str(ours), **self._spent)
        return ours

    def finish(self, final: Mapping[str, float]) -> None:
        """Records that training returned. Raises `Stopped`, recorded, where it was asked to and did not say so."""
        handle, writer = self.handle, self._writer
        if handle.stop_reason and not handle.budget.exhausted(handle.spent):
            text = f"stopped at step {handle.spent.steps}: {handle.stop_reason}."
            stopped = Stopped(Problem("", text, self._how_to_go_on))
            writer.status("stopped", exit_code=stopped.exit_code, message=str(stopped), **self._spent)
            raise stopped
        handle.begin()
        writer.status("completed", exit_code=0, message="", **self._spent, final=in_json(final))

    @property
    def _how_to_go_on(self) -> str:
        """To be copied."""
        output = self.prepared.spec.output
        elsewhere = (
            ""
            if output == type(self.prepared.spec).model_fields["output"].default
            else f" --runs {shlex.quote(str(output))}"
        )
        return f"`regimen resume {self._writer.id[-6:]}{elsewhere}` goes on from here."

    @property
    def _spent(self) -> dict[str, float]:
        spent = self.handle.spent
        return {"step": spent.steps, "epochs": spent.epochs}


def _report(folder: Path) -> None:
    """Writes `report.html`; a report that cannot be written is no reason to hide how the run ended."""
    try:
        write_report(Record(folder))
    except Exception as error:  # noqa: BLE001 - said, and the run's own end goes on
        sys.stderr.write(f"regimen: the report of {folder} could not be written: {error}\n")
