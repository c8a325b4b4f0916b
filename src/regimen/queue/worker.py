"""The process that trains one queued run: `python -m regimen.queue.worker DATABASE ID TOKEN`.

It is a process group of its own and outlives whoever started it. While it trains it renews its lease; with an older
token than the newest it trains nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from regimen.errors import RegimenError
from regimen.queue.store import LEASE_S, Queue


def work(database: Path, run_id: str, token: int) -> int:
    """Trains the run to its end; the exit code of `regimen resume`."""
    queue = Queue(database)
    if not queue.beat(run_id, token):
        return 0  # another process has it
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(queue, run_id, token, done), daemon=True)
    beating.start()
    row = queue.row(run_id)
    assert row is not None
    try:
        return _train(row.folder)
    finally:
        done.set()
        queue.ended(run_id, token)


def _train(folder: Path) -> int:
    from regimen.execute import resume
    from regimen.queue.outcome import write_end

    try:
        resume(folder)
    except RegimenError as error:
        write_end(folder, error)
        return error.exit_code
    return 0


def _beat(queue: Queue, run_id: str, token: int, done: threading.Event) -> None:
    while not done.wait(LEASE_S / 5):
        if not queue.beat(run_id, token):
            os.kill(os.getpid(), signal.SIGTERM)  # save and stop: the run is another's now
            return


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
