"""The log of a study: `trials.jsonl`, append-only, one line a run that has ended.

    {"kind": "header", "schema_version": 1, "id": ..., "description": {...}}
    {"kind": "trial", "task": "quadratic_deep", "purpose": "tuning", "number": 3, "rung": 0, "seed": 42,
     "setting": {"strategy.optimizer.lr": 0.1}, "status": "completed", "value": 90.1, "curve": [[0, 353.4], [1, 103.2]],
     "epochs": 1, "seconds": 0.2, "folder": "runs/...", "content": ..., "message": "", "found": false, "at": ...}
    {"kind": "more seeds", "rerun_seeds": [...], "at": ...}

`epochs` and `seconds` are the cost of that line alone; `curve` is the metric by epoch. A kill can tear the last line,
which then does not count.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from regimen.errors import Problem, RecordError, Refused
from regimen.events import SCHEMA_VERSION, from_json, in_json
from regimen.filelock import Held, acquire
from regimen.identity import new_id
from regimen.records.writer import disk_full_named
from regimen.spec import changed_settings
from regimen.study.trial import Place, Reached, Trial

LOG_FILE = "trials.jsonl"
LOCK_FILE = "lock"


class TrialLog:
    """The log in a study's folder, held by one process until `close`. `begin` before the first line.

    Raises `RecordError` where another process holds it or it cannot be read, `Refused` for another description.
    """

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        self.folder, self.path = folder, folder / LOG_FILE
        self.trials: dict[Place, Trial] = {}
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        with disk_full_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.lock = _acquire(folder / LOCK_FILE)
        self._new: list[dict[str, Any]] = []
        """Lines that `begin` writes."""
        try:
            self._length = self._take_up(json.loads(json.dumps(description)))
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Writes what a new log begins with, and cuts off a torn last line of an old one."""
        with self.path.open("ab") as file:
            file.truncate(self._length)
        for body in self._new:
            self._write(body)
        self._new, self._made = [], []

    def append(self, trial: Trial) -> None:
        """Puts a line on the disk itself."""
        self.trials[trial.place] = trial
        self._write(encode(trial))

    def close(self) -> None:
        """Lets go of the folder; one that was made for nothing goes."""
        self.lock.close()
        if self._made:
            shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # somebody else uses it
            for path in self._made[1:]:
                path.rmdir()

    def _take_up(self, description: dict[str, Any]) -> int:
        """Reads what is there. Returns how many bytes of it count."""
        lines = list(_lines(self.path))
        if len(lines) < 2:  # a description without a trial binds nobody
            header = {"kind": "header", "schema_version": SCHEMA_VERSION, "id": new_id(), "description": description}
            self._new.append(header)
            return 0
        old = described_in(lines[0][0], self.path)
        for body, _ in lines[1:]:
            if body["kind"] == "trial":
                trial = decode(body)
                self.trials[trial.place] = trial
            elif body["kind"] == "more seeds":
                old["tune"]["rerun_seeds"] = body["rerun_seeds"]
        self._compare(old, description)
        return sum(length for _, length in lines)

    def _compare(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Refuses another description; more seeds for the rerun are written down."""
        before, after = old["tune"]["rerun_seeds"], new["tune"]["rerun_seeds"]
        if before != after and set(before) < set(after):
            self._new.append({"kind": "more seeds", "rerun_seeds": after, "at": time.time()})
            old["tune"]["rerun_seeds"] = after
        changes = changed_settings(old, new)
        if changes:
            told = [_told(path.removeprefix("tasks."), was, now) for path, (was, now) in changes.items()]
            text = f"holds the trials of another description: {'; '.join(told)}."
            raise Refused(Problem(str(self.folder), text, "Undo that, or set another `output`."))

    def _write(self, body: Mapping[str, Any]) -> None:
        data = (json.dumps(body, ensure_ascii=False, allow_nan=False) + "\n").encode()
        with disk_full_named(self.path, len(data)), self.path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _told(path: str, was: object, now: object) -> str:
    if was is None or now is None:
        return f"{path} is {'new' if was is None else 'gone'}"
    return f"{path} was {was!r} and is {now!r}"


def read_log(folder: Path) -> tuple[dict[str, Any], list[Trial]]:
    """The description and the trials of a study, also while it is going on. Raises `RecordError`."""
    lines = list(_lines(folder / LOG_FILE))
    if not lines:
        raise RecordError(Problem(str(folder), f"is not a study: it has no {LOG_FILE}.", "Give a study's folder."))
    description = described_in(lines[0][0], folder / LOG_FILE)
    return description, [decode(body) for body, _ in lines[1:] if body["kind"] == "trial"]


def described_in(header: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The description in the first line of a log. Raises `RecordError` for another kind of file, or a newer one."""
    if header.get("kind") != "header" or "description" not in header:
        raise RecordError(Problem(f"{path}:1", "is not the header of a study.", "The file was edited or damaged."))
    if header["schema_version"] > SCHEMA_VERSION:
        text = f"has schema version {header['schema_version']}; this regimen reads up to {SCHEMA_VERSION}."
        raise RecordError(Problem(str(path), text, "Upgrade regimen-ml."))
    found: dict[str, Any] = header["description"]
    return found


def encode(trial: Trial) -> dict[str, Any]:
    """A trial as the mapping that its line is. Numbers that JSON lacks are words."""
    body: dict[str, Any] = {"kind": "trial", **trial.place._asdict()}
    rest = {name: getattr(trial, name) for name in Trial.__dataclass_fields__ if name != "place"}
    curve = [[epoch, in_json({"": value})[""]] for epoch, value in trial.curve]
    return body | rest | {"setting": dict(trial.setting), "curve": curve}


def decode(body: Mapping[str, Any]) -> Trial:
    """What `encode` made."""
    place = Place(*(body[name] for name in Place._fields))
    curve = tuple(Reached(epoch, from_json({"": value})[""]) for epoch, value in body["curve"])
    rest = {name: body[name] for name in Trial.__dataclass_fields__ if name not in ("place", "curve")}
    return Trial(place=place, curve=curve, **rest)


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Each line's mapping with its length in bytes; a torn last line is left out."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, start=1):
        try:
            body = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            body = None
        if isinstance(body, dict):
            yield body, len(line)
        elif number < len(lines):
            text = "is not a line of a study's log."
            raise RecordError(Problem(f"{path}:{number}", text, "The file was edited or damaged."))


def _acquire(path: Path) -> IO[str]:
    """The study's lock. The kernel drops it with the process, however it ends."""
    try:
        return acquire(path)
    except Held as holder:
        text = f"is being tuned by {holder}."
        raise RecordError(Problem(str(path.parent), text, "Wait for it, or stop it with Ctrl-C.")) from None
