"""Runs: created, listed, looked at, stopped, resumed, cloned, deleted."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regimen.handle import STOP_FILE
from regimen.listing import Listing, SortKey, list_runs
from regimen.queue.enqueue import queued_again
from regimen.queue.outcome import end
from regimen.records.index import RunRow, indexed
from regimen.records.reader import Record
from regimen.records.writer import is_locked
from regimen.web.admission import admit
from regimen.web.refusal import Refusal, not_found
from regimen.web.services.parts import Parts


def check(parts: Parts, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What stands against a run, and what it would be. Nothing is kept. See `helper.operations.check`."""
    admit(settings, parts.home)
    answer: dict[str, Any] = parts.helper.ask("check", settings=dict(settings))
    return answer


def create(parts: Parts, settings: Mapping[str, Any]) -> Record:
    """Puts a run into the queue and returns its record. Raises `SpecError`, `DataError` or `Refused`, nothing kept."""
    admit(settings, parts.home)
    made = parts.helper.ask("enqueue", settings=dict(settings))
    parts.queue.add(made["id"], Path(made["folder"]), made["device"])
    return Record(Path(made["folder"]))


def listed(
    parts: Parts,
    *,
    status: str | None = None,
    task: str | None = None,
    strategy: str | None = None,
    metric: str | None = None,
    sort: SortKey = "when",
    reverse: bool = False,
) -> Listing:
    """All runs below the home, newest first; see `listing.list_runs`."""
    return list_runs(
        parts.home.runs, status=status, task=task, strategy=strategy, metric=metric, sort=sort, reverse=reverse
    )


def row_of(parts: Parts, run_id: str) -> RunRow:
    """The row of one run, by its whole id. Raises `Refusal` 404."""
    for row in indexed(parts.home.runs).rows:
        if row.id == run_id:
            return row
    raise not_found("run", run_id)


def record_of(parts: Parts, run_id: str) -> Record:
    """The record of one run, by its whole id. Raises `Refusal` 404."""
    known = parts.queue.row(run_id)
    if known is not None and (known.folder / "spec.yaml").is_file():
        return Record(known.folder)
    return Record(row_of(parts, run_id).folder)


def stop(parts: Parts, run_id: str) -> Record:
    """Asks a run to save and stop; one that waits is stopped at once. Raises `Refusal` 409 for one that has ended."""
    record = record_of(parts, run_id)
    if parts.queue.withdraw(run_id):
        end(record.folder, "stopped", "was taken out of the queue before it began.")
        return Record(record.folder)
    row = parts.queue.row(run_id)
    if not is_locked(record.folder) and (row is None or row.state != "running"):
        raise Refusal(409, run_id, f"is not running: it is {record.status}.")
    (record.folder / STOP_FILE).touch()
    parts.queue.ask_to_stop(run_id)
    return Record(record.folder)


def resume(parts: Parts, run_id: str) -> Record:
    """Puts a run that was stopped, killed or refused back into the queue. Raises `Refused` for one that completed."""
    record = queued_again(record_of(parts, run_id).folder)
    parts.queue.add(run_id, record.folder, record.state["queued"])
    return record


def delete(parts: Parts, run_id: str) -> None:
    """Deletes a run that is not running, with its checkpoints and artifacts. Raises `Refusal` 409 if it is."""
    record = record_of(parts, run_id)
    if is_locked(record.folder) or not parts.queue.remove(run_id):
        raise Refusal(409, run_id, "is running.", "Stop it first.")
    shutil.rmtree(record.folder)


def settings_of(parts: Parts, run_id: str) -> dict[str, Any]:
    """What was passed to start the run: to clone and edit it."""
    return dict(record_of(parts, run_id).spec["passed"])


def artifact(parts: Parts, run_id: str, name: str) -> Path:
    """A file below the run's artifacts, its report or its log. Raises `Refusal` 404; no way leads out of the folder."""
    folder = record_of(parts, run_id).folder.resolve()
    if name in ("report.html", "log.txt", "spec.yaml", "environment.json", "status.json", "events.jsonl"):
        path = folder / name
    else:
        path = (folder / "artifacts" / name).resolve()
        if folder / "artifacts" not in path.parents:
            raise not_found("artifact", name)
    if not path.is_file():
        raise not_found("artifact", name)
    return path


def tail(record: Record, lines: int = 40) -> list[str]:
    """The last lines of a run's log."""
    try:
        with (record.folder / "log.txt").open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - 200 * lines))
            return log.read().decode("utf-8", "replace").splitlines()[-lines:]
    except FileNotFoundError:
        return []
