"""Writes a run folder: the only code that puts anything there besides checkpoints and artifacts.

spec.yaml          as passed and as resolved                  events.jsonl   what happened, append-only
environment.json   versions, hardware, git, threads           status.json    where it stands, replaced as a whole
log.txt            what was printed                           lock           held while a process trains this run
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import yaml

from regimen.errors import DiskFull, Problem, RecordError
from regimen.events import SCHEMA_VERSION, Event, Header, Metrics, Note, Resumed, encode
from regimen.filelock import Held, acquire

Status = Literal["queued", "running", "completed", "stopped", "diverged", "refused", "failed", "lost"]
FINAL: frozenset[Status] = frozenset({"completed", "stopped", "diverged", "refused", "failed", "lost"})

Listener = Callable[[Event], None]


@contextmanager
def disk_full_named(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turns "no space left" into `DiskFull` with the path, what was needed and what is free."""
    try:
        yield
    except Exception as error:  # safetensors' own error for it is no OSError
        if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT) and "No space left" not in str(error):
            raise
        free = _free_bytes(path)
        need = f"{needed / 1e6:.1f} MB needed, " if needed is not None else ""
        raise DiskFull(
            Problem(
                str(path),
                f"cannot be written: the disk is full ({need}{free / 1e6:.1f} MB free).",
                "Free some space, then resume.",
            )
        ) from error


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes beside, flushes, renames: a reader sees the old content or the new, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_full_named(path, len(data)):
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_json(path: Path, body: Mapping[str, Any], *, durable: bool = True) -> None:
    replace_file(path, (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode(), durable=durable)


class RecordWriter:
    """The one writer of a run folder. Holds the folder's lock until `close`.

    Raises `RecordError` if another process trains this run, naming it.
    """

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder, self.id = folder, run_id
        self.listeners: list[Listener] = []
        """Called with every event that is recorded."""
        with disk_full_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "artifacts").mkdir(exist_ok=True)
            self._lock = _acquire(folder / "lock")
            self._events = (folder / "events.jsonl").open("ab", buffering=0)
        self._status: dict[str, Any] = _read_json(folder / "status.json")
        self.had_metrics = b'"kind": "metrics"' in (folder / "events.jsonl").read_bytes()
        if self._events.tell() == 0:
            self._append(Header(run_id))

    @property
    def length(self) -> int:
        """Bytes of `events.jsonl` so far: what a checkpoint remembers."""
        return self._events.tell()

    def write_spec(self, passed: Mapping[str, Any], resolved: Mapping[str, Any], **identity: Any) -> None:
        """The settings as the user gave them and as they were checked, and what identifies the run."""
        body = {
            "schema_version": SCHEMA_VERSION,
            "id": self.id,
            **identity,
            "passed": dict(passed),
            "resolved": dict(resolved),
        }
        replace_file(self.folder / "spec.yaml", yaml.safe_dump(body, sort_keys=False, allow_unicode=True).encode())

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        write_json(self.folder / "environment.json", {"schema_version": SCHEMA_VERSION, **environment})

    def status(self, status: Status, **details: Any) -> None:
        """Replaces `status.json`. Details given earlier stay unless they are given again."""
        now = time.time()
        if status in ("queued", "running"):
            for gone in ("ended_at", "message", "exit_code"):
                self._status.pop(gone, None)
        if status == "running":
            self._status.setdefault("started_at", now)
        if status in FINAL:
            details.setdefault("ended_at", now)
        self._status |= {"schema_version": SCHEMA_VERSION, "id": self.id, "status": status, **details}
        write_json(self.folder / "status.json", self._status)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._append(Metrics(step, dict(values), time.time()))

    def note(self, text: str) -> None:
        self._append(Note(text, time.time()))

    def resumed(self, step: int, keep: int) -> None:
        """What lies beyond the first `keep` bytes is superseded: the run goes on from `step`."""
        if _last_byte(self.folder / "events.jsonl") != b"\n":
            self._write(b"\n")
        self._append(Resumed(step, keep, time.time()))

    def sync(self) -> None:
        """Puts the events on the disk itself; a checkpoint calls it before it counts."""
        os.fsync(self._events.fileno())

    def close(self) -> None:
        self._events.close()
        self._lock.close()

    def _append(self, event: Event) -> None:
        self._write(encode(event))
        for listener in self.listeners:
            listener(event)

    def _write(self, data: bytes) -> None:
        with disk_full_named(self.folder / "events.jsonl", len(data)):
            while data:  # nothing is buffered, so that nothing fails again when the file is closed
                data = data[self._events.write(data) :]


def _acquire(path: Path) -> IO[str]:
    try:
        lock = acquire(path)
    except Held as holder:
        raise RecordError(
            Problem(str(path.parent), f"is being trained by {holder}.", "Wait for it, or stop it with `regimen stop`.")
        ) from None
    _held.add(lock)
    return lock


_held: weakref.WeakSet[IO[str]] = weakref.WeakSet()
"""The locks of this process. A forked worker shares them and would keep them when its parent is killed."""


def _let_go() -> None:
    for lock in list(_held):
        lock.close()  # of the child alone: the parent still holds it


os.register_at_fork(after_in_child=_let_go)


def is_locked(folder: Path) -> bool:
    """Whether a process trains this run now. The kernel drops the lock with the process, however it ends."""
    try:
        with (folder / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return body


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        if file.tell() == 0:
            return b"\n"
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _free_bytes(path: Path) -> int:
    while not path.exists():
        path = path.parent
    stats = os.statvfs(path)
    return stats.f_bavail * stats.f_frsize
