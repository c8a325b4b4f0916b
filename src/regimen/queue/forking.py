"""A process that has imported PyTorch and forks a worker for each run, so that a run begins in a tenth of a second.

It reads a request a line from its standard input (`{"database", "id", "token", "log"}`) and says a line when a worker
has ended (`{"token", "code"}`, a negative code is the signal). It ends with its input; its workers do not. It never
touches a GPU, and no run that needs one is forked from it.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

_LOADED_ONCE = frozenset({"torch", "transformers", "peft", "accelerate", "tokenizers", "trl", "datasets", "regimen"})
"""Packages that are slow to import: what one run needed of them, the next will need."""
_READ_ANEW = ("regimen.strategies", "regimen.tasks", "regimen.tunings", "regimen.queue")


def serve() -> None:
    """Starts workers until the input ends."""
    import torch  # noqa: F401 - imported once, for all that are forked

    import regimen.execute
    import regimen.queue.outcome  # noqa: F401

    out = os.dup(1)
    os.dup2(2, 1)
    running: dict[int, tuple[int, int, bytes]] = {}  # pipe: token, process, what it has said
    rest = b""
    while True:
        for ready in select.select([0, *running], [], [])[0]:
            if ready in running:
                _hear(ready, running, out)
                continue
            data = os.read(0, 1 << 16)
            if not data:
                os._exit(0)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _fork(json.loads(line), running, out)


def _fork(request: dict[str, Any], running: dict[int, tuple[int, int, bytes]], out: int) -> None:
    reads, writes = os.pipe()
    process = os.fork()
    if process == 0:
        for inherited in (0, out, reads, *running):
            os.close(inherited)
        _work(request, writes)
    os.close(writes)
    running[reads] = request["token"], process, b""


def _work(request: dict[str, Any], said: int) -> None:
    """In the worker: as if started afresh, and without the clean-up of the process that it was forked from."""
    from regimen.queue.worker import work

    code, before = 70, set(sys.modules)
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)  # 0, which was just closed
        os.dup2(nothing, 1)
        os.dup2(os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 2)
        code = work(Path(request["database"]), request["id"], request["token"])
        with suppress(OSError):
            _write(said, json.dumps(_to_load_once(before)).encode())
    except BaseException:  # noqa: BLE001 - printed to the run's process.txt, and told by the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _to_load_once(before: set[str]) -> list[str]:
    new = [name for name in sys.modules if name not in before and name.partition(".")[0] in _LOADED_ONCE]
    return sorted(name for name in new if not name.startswith(_READ_ANEW))


def _hear(pipe: int, running: dict[int, tuple[int, int, bytes]], out: int) -> None:
    token, process, said = running[pipe]
    data = os.read(pipe, 1 << 16)
    if data:
        running[pipe] = token, process, said + data
        return
    os.close(pipe)
    del running[pipe]
    _say(out, {"token": token, "code": os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])})
    for name in json.loads(said) if said.endswith(b"]") else ():
        with suppress(Exception):  # some are made by other modules, not found in files
            importlib.import_module(name)


def _say(out: int, body: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):
        _write(out, (json.dumps(body) + "\n").encode())


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve()
