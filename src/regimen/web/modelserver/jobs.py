"""A job about a model's files, as a file: `FOLDER/ID.json` says what it does and how it went, `ID.lock` that it lives.

The process that does it outlives the server, and a server that is started later finds it again.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from regimen.identity import new_id
from regimen.records.writer import replace_file

What = Literal["export", "push"]
JobStatus = Literal["running", "completed", "failed"]


@dataclass(frozen=True)
class Job:
    """One export or push."""

    id: str
    what: What
    model: str
    """The id of the model that it is about."""
    started_at: float
    """Seconds since 1970, UTC."""
    status: JobStatus = "running"
    stage: str = "starting"
    """What it does now."""
    message: str = ""
    """What went wrong."""
    fix: str = ""
    result: str = ""
    """The id of the model that an export made; the address of what was pushed."""
    ended_at: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    """For the process that does it."""

    @classmethod
    def read(cls, path: Path) -> Job:
        """A job as it is: one that says running and has no process has failed."""
        job = cls(**json.loads(path.read_bytes()))
        if job.status == "running" and not _lives(path):
            again = cls(**json.loads(path.read_bytes()))  # it may have ended between the two looks
            if again.status == "running":
                return replace(again, status="failed", message="its process ended without a word.", fix="Ask again.")
            return again
        return job

    def write(self, path: Path) -> None:
        replace_file(path, json.dumps(asdict(self)).encode())


def start(folder: Path, job: Job) -> Job:
    """Writes the job's file and starts its process, whose own words go to `ID.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{job.id}.json"
    job.write(path)
    with _lock(path) as lock, path.with_suffix(".txt").open("ab") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the process inherits it, so there is no moment without
        subprocess.Popen(
            [sys.executable, "-P", "-m", "regimen.web.modelserver.working", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
    return job


def all_of(folder: Path) -> Iterator[Job]:
    """Newest first."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        yield Job.read(path)


def fresh_id() -> str:
    """Sorts by time."""
    return new_id()


@contextmanager
def _lock(path: Path) -> Iterator[IO[bytes]]:
    with path.with_suffix(".lock").open("ab") as lock:
        yield lock


def _lives(path: Path) -> bool:
    try:
        with path.with_suffix(".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
