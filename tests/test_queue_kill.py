"""Server and workers killed at random while runs wait and train: none is lost, none is trained twice at once, and each
ends as if nothing had happened.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

import regimen
from counting import home_in, kill, processes_overlap, put, queue_of, serve, settings, until
from regimen.queue.processlife import send
from regimen.queue.store import Queue
from regimen.records.reader import Record


def children_of(pid: int) -> list[int]:
    """Processes that another has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


VICTIMS = ("worker", "starter", "server", "everything")


def strike(victim: str, queue: Queue, server: subprocess.Popen[bytes]) -> None:
    """Kills a worker, the process that workers are forked from, the server, or all of them at once."""
    running = sorted((row for row in queue.rows("running") if row.pid), key=lambda row: trained_at(row.folder))
    if victim in ("worker", "everything"):
        for row in running if victim == "everything" else running[-1:]:
            send(row.pid, row.born, signal.SIGKILL)
    if victim in ("starter", "everything"):
        for pid in children_of(server.pid):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
    if victim in ("server", "everything"):
        kill(server)


def trained_at(folder: Path) -> float:
    """When a run last took a step, of which it has taken some; 0 if it has not."""
    with suppress(FileNotFoundError):
        witness = (folder / "witness.txt").stat()
        return witness.st_mtime if witness.st_size > 300 else 0.0
    return 0.0


def is_training(queue: Queue) -> bool:
    return any(time.time() - trained_at(row.folder) < 0.2 for row in queue.rows("running"))


def check_kills(home: Path, runs: int, victims: list[str], seed: int) -> None:
    print(f"seed {seed}")
    chance, queue = random.Random(seed), queue_of(home_in(home))
    how = [{"seed": number, "steps": chance.randint(10, 60)} for number in range(runs)]
    expected = [regimen.run({**settings(**each), "output": "alone"}).identity for each in how]
    records = [put(queue, wait_s=0.05, **each) for each in how]
    server = serve(home, slots=2)
    try:
        for number, victim in enumerate(victims):
            if number % 3 < 2:
                until(lambda: is_training(queue) or not queue.rows("queued"), "a run that is being trained")
            else:  # at what is only just starting
                time.sleep(chance.uniform(0.0, 1.0))
            strike(victim, queue, server)
            if server.poll() is not None:
                server = serve(home, slots=2)
        until(lambda: not queue.rows("queued", "running"), "all have ended", seconds=600)
    finally:
        kill(server)
    print(f"killed: {', '.join(victims)}; {sum(bool(Record(each.folder).resumes) for each in records)} runs went on")
    assert len(queue.rows()) == runs
    for record, alone in zip(records, expected, strict=True):
        done = Record(record.folder)
        assert (done.status, done.state.get("message")) == ("completed", "")
        assert done.identity == alone
        assert not processes_overlap(record.folder)


def test_kills_lose_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path, runs=8, victims=["worker", "server", "everything"], seed=11)


@pytest.mark.long
def test_many_kills_lose_nothing(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    check_kills(tmp_path, runs=50, victims=random.Random(seed).choices(VICTIMS, k=10), seed=seed)
