"""The helper's own end: reads a request a line, forks a process for each, writes an answer a line.

A request is forked, so that a plug-in that crashes, leaks or exits takes only itself along, and a file that was
changed is read anew. See `client` for the other end.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from typing import Any

from regimen.errors import RegimenError


def serve() -> None:
    """Answers until the input ends."""
    import torch

    import regimen.prepared  # noqa: F401 - imported once, for all that are forked

    torch.set_num_threads(1)
    out = os.dup(1)
    os.dup2(2, 1)  # what a plug-in prints is no answer
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waiting: dict[int, tuple[int, int, bytes]] = {}
    rest, is_open = b"", True
    while is_open or waiting:
        for ready in select.select([*([0] if is_open else []), *waiting], [], [])[0]:
            if ready in waiting:
                _hear(ready, waiting, out)
                continue
            data = os.read(0, 1 << 20)
            is_open = bool(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _fork(json.loads(line), waiting)
    sys.exit(0)


def _fork(request: dict[str, Any], waiting: dict[int, tuple[int, int, bytes]]) -> None:
    reads, writes = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reads)
        body = json.dumps(_answer(request), default=str).encode()
        while body:
            body = body[os.write(writes, body) :]
        os._exit(0)
    os.close(writes)
    waiting[reads] = (request["number"], process, b"")


def _hear(pipe: int, waiting: dict[int, tuple[int, int, bytes]], out: int) -> None:
    number, process, said = waiting[pipe]
    data = os.read(pipe, 1 << 16)
    if data:
        waiting[pipe] = number, process, said + data
        return
    os.close(pipe)
    del waiting[pipe]
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    answer = json.loads(said) if code == 0 else {"died": code}
    line = (json.dumps({**answer, "number": number}) + "\n").encode()
    while line:
        line = line[os.write(out, line) :]


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    from regimen.web.helper.operations import OPERATIONS

    try:
        os.chdir(request["folder"])
        return {"answer": OPERATIONS[request["operation"]](**request["arguments"])}
    except RegimenError as error:
        kind, problems = type(error).__name__, [list(problem) for problem in error.problems]
        return {"error": kind, "exit_code": error.exit_code, "problems": problems}
    except BaseException as error:  # noqa: BLE001 - told to who asked
        traceback.print_exc()
        return {"error": "InternalError", "exit_code": 70, "problems": [["", f"{type(error).__name__}: {error}", ""]]}


if __name__ == "__main__":
    serve()
