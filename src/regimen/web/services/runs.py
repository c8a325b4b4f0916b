"""Runs: created, listed, looked at, stopped, resumed, cloned, deleted."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal, NamedTuple

from regimen.differences import compare, to_json
from regimen.errors import Problem, SpecError
from regimen.handle import STOP_FILE
from regimen.listing import Listing, SortKey, list_runs
from regimen.queue.enqueue import queued_again
from regimen.queue.outcome import end
from regimen.records.index import RunRow, indexed, read_row
from regimen.records.reader import Record
from regimen.records.writer import FINAL, is_locked
from regimen.walking import files_below
from regimen.web.admission import admit
from regimen.web.refusal import Refusal, not_found
from regimen.web.services import curves
from regimen.web.services.logs import tail
from regimen.web.services.parts import Parts
from regimen.web.services.tags import Tags, read_tags, write_tags

__all__ = ["tail"]

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_TRASH = ".deleted"
"""Below the runs; hidden folders hold no runs."""
_FILES = ("report.html", "log.txt", "spec.yaml", "environment.json", "status.json", "events.jsonl")
"""Of a run's own folder, that may be fetched as artifacts are."""
MOST_ARTIFACTS = 1000
_REPORT_S = 10.0

Action = Literal["stop", "resume", "clone", "delete"]


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


# ------------------------------------------------------------------------------------------------ looking


def listed(
    parts: Parts,
    *,
    status: str | None = None,
    task: str | None = None,
    strategy: str | None = None,
    metric: str | None = None,
    sort: SortKey = "when",
    reverse: bool = False,
    tag: str | None = None,
    text: str | None = None,
) -> Listing:
    """All runs below the home, newest first; see `listing.list_runs`. `text` is looked for in id, names, message, tags
    and note, upper and lower case alike.
    """
    try:
        found = list_runs(
            parts.home.runs, status=status, task=task, strategy=strategy, metric=metric, sort=sort, reverse=reverse
        )
    except SpecError as error:  # speaks as the command line does
        raise SpecError([Problem(place.lstrip("-"), what, fix) for place, what, fix in error.problems]) from error
    if tag is None and not text:
        return found
    sought = (text or "").casefold()
    return found._replace(rows=[row for row in found.rows if _fits(row, tag, sought)])


def _fits(row: RunRow, tag: str | None, sought: str) -> bool:
    said = read_tags(row.folder)
    if tag is not None and tag not in said.tags:
        return False
    words = (row.id, row.task, row.strategy, row.folder.parent.name, row.status, row.message, *said)
    return sought in " ".join(map(str, words)).casefold()


def row_of(parts: Parts, run_id: str) -> RunRow:
    """The row of one run, by its whole id. Raises `Refusal` 404."""
    record = record_of(parts, run_id)
    row = read_row(record.folder)
    return RunRow(**{**row.__dict__, "status": record.status})


def record_of(parts: Parts, run_id: str) -> Record:
    """The record of one run, by its whole id. Raises `Refusal` 404."""
    if _ID.fullmatch(run_id):
        known = parts.queue.row(run_id)
        if known is not None and (known.folder / "spec.yaml").is_file():
            return Record(known.folder)
        for row in indexed(parts.home.runs).rows:
            if row.id == run_id:
                return Record(row.folder)
    raise not_found("run", run_id)


def settings_of(parts: Parts, run_id: str) -> dict[str, Any]:
    """What was passed to start the run: to clone and edit it."""
    return dict(record_of(parts, run_id).spec["passed"])


def differences(parts: Parts, a: str, b: str) -> dict[str, Any]:
    """What differs between two runs, causes first; see `differences.to_json`. They are named by their ids."""
    found: dict[str, Any] = json.loads(to_json(compare(record_of(parts, a), record_of(parts, b))))
    return {**found, "a": a, "b": b}


def actions(parts: Parts, record: Record) -> list[Action]:
    """What may be done with a run now."""
    row = parts.queue.row(record.id)
    is_busy = row is not None and row.state == "running" and record.state.get("status") not in FINAL
    may_stop = record.status in ("queued", "running") or is_busy
    possible: dict[Action, bool] = {
        "stop": may_stop,
        "resume": not may_stop and record.status != "completed",
        "clone": True,
        "delete": not is_busy and record.status != "running",
    }
    return [action for action, is_possible in possible.items() if is_possible]


# ------------------------------------------------------------------------------------------------ changing


def stop(parts: Parts, run_id: str, *, now: bool = False) -> Record:
    """Asks a run to save and stop; one that waits is stopped at once. `now` ends its process without waiting for it to
    save, if it does not within two seconds. Raises `Refusal` 409 for one that has ended.
    """
    record = record_of(parts, run_id)
    if parts.queue.withdraw(run_id):
        end(record.folder, "stopped", "was taken out of the queue before it began.", exit_code=5)
    elif parts.queue.ask_to_stop(run_id, now=now) or is_locked(record.folder):
        if record.state.get("status") not in FINAL:
            (record.folder / STOP_FILE).touch()
    else:
        raise Refusal(409, run_id, f"is not running: it is {record.status}.")
    return Record(record.folder)


def resume(parts: Parts, run_id: str) -> Record:
    """Puts a run that was stopped, killed or refused back into the queue. Raises `Refused` for one that completed."""
    folder = record_of(parts, run_id).folder
    if is_locked(folder):
        raise Refusal(409, run_id, "is running.", "Wait for it, or stop it first.")
    record = queued_again(folder)
    parts.queue.add(run_id, record.folder, record.state["queued"])
    return record


def clone(
    parts: Parts, run_id: str, *, settings: Mapping[str, Any] | None = None, changes: Mapping[str, Any] | None = None
) -> Record:
    """Queues another run with the settings of this one, or with others, and with `changes` by dotted path."""
    passed = dict(settings) if settings is not None else settings_of(parts, run_id)
    record_of(parts, run_id)
    for path, value in (changes or {}).items():
        passed = _changed(passed, path.split("."), value, path)
    return create(parts, passed)


def _changed(settings: Mapping[str, Any], keys: list[str], value: Any, path: str) -> dict[str, Any]:
    """A copy in which one dotted path is set. A plug-in that is given by its name alone gets settings."""
    key, *deeper = keys
    if not deeper:
        return {**settings, key: value}
    inner = settings.get(key) or {}
    if isinstance(inner, str):
        inner = {"name": inner}
    if not isinstance(inner, Mapping):
        raise SpecError(Problem(path, f"leads into {key}, which is {inner!r}.", "Give the path of a setting."))
    return {**settings, key: _changed(inner, deeper, value, path)}


def tag(parts: Parts, run_id: str, tags: list[str], note: str) -> Tags:
    """Replaces the tags and the note of a run. Raises `SpecError`."""
    return write_tags(record_of(parts, run_id).folder, tags, note)


def delete(parts: Parts, run_id: str) -> None:
    """Deletes a run that is not running, with its checkpoints and artifacts. Raises `Refusal` 409 if it is."""
    record = record_of(parts, run_id)
    if record.state.get("status") in FINAL:
        _let_go(parts, run_id)
    if not parts.queue.remove(run_id) or is_locked(record.folder):
        raise Refusal(409, run_id, "is running.", "Stop it first.")
    trash = parts.home.runs / _TRASH
    trash.mkdir(exist_ok=True)
    record.folder.rename(trash / run_id)  # whole or not at all
    shutil.rmtree(trash, ignore_errors=True)
    curves.forget(parts, run_id)
    for above in record.folder.parents:
        if parts.home.runs not in above.parents or any(above.iterdir()):
            break
        above.rmdir()


def _let_go(parts: Parts, run_id: str) -> None:
    """Waits a moment for the process of a run that has just ended, which writes its report."""
    deadline = time.monotonic() + _REPORT_S
    while time.monotonic() < deadline and (row := parts.queue.row(run_id)) is not None and row.state == "running":
        time.sleep(0.05)


# ------------------------------------------------------------------------------------------------ files


class Artifact(NamedTuple):
    name: str
    """Its path below the run's artifacts, or the name of one of the run's own files."""
    bytes: int
    changed_at: float
    """Seconds since 1970, UTC."""


def artifacts(parts: Parts, run_id: str) -> list[Artifact]:
    """What a run left, its own files first."""
    folder = record_of(parts, run_id).folder
    below = folder / "artifacts"
    files = [(name, folder / name) for name in _FILES]
    files += [(str(path.relative_to(below)), path) for path in files_below(below)][:MOST_ARTIFACTS]
    found = []
    for name, path in files:
        with suppress(FileNotFoundError):  # it may be replaced just now
            stat = path.lstat()
            found += [Artifact(name, stat.st_size, stat.st_mtime)] * S_ISREG(stat.st_mode)
    return found


def artifact(parts: Parts, run_id: str, name: str) -> Path:
    """A file below the run's artifacts, its report or its log. Raises `Refusal` 404; no way leads out of the folder."""
    folder = record_of(parts, run_id).folder.resolve()
    try:
        path = folder / name if name in _FILES else (folder / "artifacts" / name).resolve()
        allowed = path.parent if name in _FILES else folder / "artifacts"
        if allowed in path.parents and path.is_file() and not path.is_symlink():
            return path
    except (OSError, ValueError):  # too long for a path, or it holds a NUL
        pass
    raise not_found("artifact", name)
