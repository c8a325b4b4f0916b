"""Runs of a few milliseconds for tests of the queue: a strategy that adds numbers, and ends badly when it is told to.

Every process that trains one writes down when it did, so that a test can tell whether two ever did at once.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from regimen.document import Document
from regimen.prepared import prepare
from regimen.queue.enqueue import queued
from regimen.queue.store import Queue
from regimen.records.reader import Record

TASK = '''"""Nothing to train on."""

from regimen.task import Task


class Nothing(Task):
    """No rows."""

    name = "nothing"
    family = "benchmark"
'''
STRATEGY = '''"""Adds numbers."""

import os
import signal
import time

from regimen.strategy import Strategy


class Counting(Strategy):
    """Adds random numbers, a step a number; saves every `every` steps; `ends` badly in the middle if it is told to."""

    name = "counting"
    family = "benchmark"
    every: int = 5
    """steps between two checkpoints"""
    wait_s: float = 0.0
    """seconds a step"""
    ends: str = ""
    """how: raises, exits, killed, crashes, memory, disk, deaf, nan"""

    def why_not(self, task):
        return None

    def preflight(self, task, settings):
        return []

    def train(self, task, run):
        found = run.restore()
        step, total = (found.step, found.state["total"]) if found else (0, 0.0)
        generator, began = run.generator("numbers"), time.monotonic()
        while self.ends == "deaf" or not run.should_stop(step):
            with (run.folder / "witness.txt").open("a") as witness:
                witness.write(f"{os.getpid()} {time.monotonic()} {step}\\n")
            if step == run.budget.steps // 2:
                self.end()
            time.sleep(self.wait_s)
            total, step = total + float(generator.random()), step + 1
            spent = {"time/elapsed_s": time.monotonic() - began, "time/fraction": step / run.budget.steps}
            run.log(step, {"train/loss": total, **spent})
            print("step", step)
            if step % self.every == 0 or run.should_stop(step):
                run.checkpoint(step, {"total": total})
        return {"valid/loss": total}

    def end(self):
        if self.ends == "raises":
            raise ValueError("the frobnicator is empty")
        if self.ends == "memory":
            raise MemoryError
        if self.ends == "disk":
            raise OSError(28, "No space left on device", "somewhere")
        if self.ends == "exits":
            os._exit(3)
        if self.ends in ("killed", "crashes"):
            os.kill(os.getpid(), signal.SIGKILL if self.ends == "killed" else signal.SIGSEGV)
        if self.ends == "nan":
            from regimen.errors import Diverged

            raise Diverged("train/loss is not finite.", 3)
'''
SERVER = """
import sys, time
from pathlib import Path
from regimen.queue.keeper import Keeper
from regimen.queue.store import Queue

home = Path(sys.argv[1])
keeper = Keeper(Queue(home / ".regimen" / "queue.sqlite"), slots=int(sys.argv[2]))
keeper.find_again(home / "runs")
while True:
    keeper.tick()
    time.sleep(0.05)
"""


def home_in(folder: Path) -> Path:
    """A home whose plug-ins are those above."""
    for name, text in (("strategies/counting.py", STRATEGY), ("tasks/nothing.py", TASK)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def settings(*, steps: int = 10, seed: int = 0, **strategy: Any) -> dict[str, Any]:
    return {
        "task": "nothing",
        "strategy": {"name": "benchmark/counting", **strategy},
        "budget": {"steps": steps},
        "seed": seed,
    }


def put(queue: Queue, **how: Any) -> Record:
    """Queues a run as the server's helper does; the current folder is the home."""
    record = queued(prepare(Document(settings(**how))))
    queue.add(record.id, record.folder, record.state["queued"])
    return record


def queue_of(home: Path) -> Queue:
    return Queue(home / ".regimen" / "queue.sqlite")


def serve(home: Path, slots: int = 1) -> subprocess.Popen[bytes]:
    """The part of a server that keeps the queue going, as a process that can be killed."""
    return subprocess.Popen([sys.executable, "-c", SERVER, str(home), str(slots)], cwd=home, start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def until(
    true: Callable[[], object], what: str, *, seconds: float = 120.0, between: Callable[[], object] | None = None
) -> None:
    """Waits, calling `between` meanwhile."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"still not: {what}"
        if between is not None:
            between()
        time.sleep(0.02)


def processes_overlap(folder: Path) -> bool:
    """Whether two processes ever trained a run at once, as they wrote it down."""
    spans: dict[str, list[float]] = {}
    for line in (folder / "witness.txt").read_text().splitlines():
        pid, at, _ = line.split()
        spans.setdefault(pid, []).append(float(at))
    ordered = sorted((min(moments), max(moments)) for moments in spans.values())
    return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(ordered))
