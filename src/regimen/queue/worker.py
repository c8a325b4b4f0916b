"""The process that trains one queued run: `python -m regimen.queue.worker DATABASE ID TOKEN`, or forked from `forking`.

It leads a process group of its own and outlives whoever started it. While it trains it renews its lease; when it finds
that the run is another's, it ends itself at once and the other goes on from the last checkpoint.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

from regimen.errors import InternalError, RecordError, RegimenError
from regimen.handle import STOP_FILE
from regimen.queue.store import LEASE_S, Queue, Row

_LOOKS = 3
"""At a folder whose lock was held for an instant by one who only looked whether it is held."""


def work(database: Path, run_id: str, token: int) -> int:
    """Trains the run to its end; the exit code of `regimen resume`, 0 where another process has the run."""
    queue = Queue(database)
    row = queue.row(run_id)
    row = queue.beat(row) if row is not None and row.token == token else None
    if row is None:
        return 0
    done = threading.Event()
    beating = threading.Thread(target=_beat, args=(queue, row, done), daemon=True)
    beating.start()
    try:
        return _train(queue, row)
    finally:
        done.set()
        beating.join()
        _hand_back(queue, row)


def _train(queue: Queue, row: Row) -> int:
    from regimen.queue.outcome import write_end

    try:
        return _resumed(queue, row)
    except RegimenError as error:
        write_end(row.folder, error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - recorded; nobody else hears of it
        with suppress(OSError), (row.folder / "log.txt").open("a", encoding="utf-8") as log:
            traceback.print_exception(error, file=log)
        ours = InternalError(f"an error of Regimen itself: {type(error).__name__}: {error}".rstrip(". ") + ".")
        write_end(row.folder, ours)
        return ours.exit_code


def _resumed(queue: Queue, row: Row) -> int:
    """Goes on with the run once nobody else trains it and if nobody stopped it meanwhile."""
    from regimen.execute import resume
    from regimen.queue.outcome import end
    from regimen.records.writer import is_locked

    for look in range(1, _LOOKS + 1):
        while is_locked(row.folder):
            time.sleep(0.2)
        now = queue.beat(row)  # after all that takes long, and before anything is written
        if now is None:
            return 0
        if now.stop_asked_at is not None:
            end(row.folder, "stopped", "was stopped before it began.", exit_code=5)
            return 5
        try:
            resume(row.folder)
        except RecordError:
            if look == _LOOKS:
                raise
            continue
        return 0
    return 0


def _hand_back(queue: Queue, row: Row) -> None:
    """The row follows the folder; where the folder has no end, the keeper decides."""
    from regimen.queue.outcome import FAILURES
    from regimen.records.reader import Record
    from regimen.records.writer import FINAL

    with suppress(RegimenError, sqlite3.Error):  # no folder, or no space: found by the keeper
        status = Record(row.folder).state.get("status")
        if status in FINAL:
            queue.ended(row.id, row.token, failed=status in FAILURES)


def _beat(queue: Queue, row: Row, done: threading.Event) -> None:
    """Signs of life. Also keeps a wish to stop awake that came before training: its beginning clears older ones."""
    while not done.wait(LEASE_S / 10):
        try:
            now = queue.beat(row)
        except sqlite3.Error:  # a full disk, or a queue that is busy for long: the next beat may do
            continue
        if now is None:
            os.killpg(0, signal.SIGKILL)  # nothing may be written any more, not even that it stopped
        elif now.stop_asked_at is not None:
            with suppress(OSError):
                (row.folder / STOP_FILE).touch()


if __name__ == "__main__":
    sys.exit(work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
