"""A process that has imported PyTorch and forks one for each request, so that a run begins in milliseconds and takes
nothing with it when it dies.

It reads one JSON request a line from its standard input and writes one answer a line to its standard output, each with
the number of the request. SIGTERM asks the runs to save and end; so does the end of the input. It never trains and
never looks for a GPU itself: a process that has touched one cannot be forked.
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
from dataclasses import dataclass, field
from typing import Any

import torch

from regimen.study.settling import answer


@dataclass
class Children:
    """The processes that answer, by the pipe each answers through."""

    out: int
    """Where answers go."""
    numbers: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Pipe to (number of the request, process)."""
    said: dict[int, bytes] = field(default_factory=dict)

    def start(self, request: dict[str, Any], index: dict[str, str]) -> None:
        """Forks a process for a request."""
        reads, writes = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            os.close(reads)
            _work(request | {"index": index}, writes)
        os.close(writes)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        self.numbers[reads], self.said[reads] = (request["number"], process), b""

    def hear(self, pipe: int) -> None:
        """Takes what a process has said; at its end, passes it on."""
        data = os.read(pipe, 1 << 16)
        if data:
            self.said[pipe] += data
            return
        os.close(pipe)
        (number, process), said = self.numbers.pop(pipe), self.said.pop(pipe)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        answered: dict[str, Any] = json.loads(said) if code == 0 else {"died": code}
        for name in answered.pop("modules", ()):
            if name not in sys.modules:  # what one run needed, the next will need
                with suppress(ImportError):  # some are made by other modules, not found in files
                    importlib.import_module(name)
        with suppress(BrokenPipeError):  # the study was killed; its runs still save and end
            os.write(self.out, (json.dumps({**answered, "number": number}) + "\n").encode())

    def stop(self) -> None:
        """Asks all to save and end."""
        for _, process in self.numbers.values():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)


def _work(request: dict[str, Any], out: int) -> None:
    """In a process of its own: answers and ends, without the clean-up of the process that it was forked from."""
    code = 70
    try:
        os.chdir(request["cwd"])
        sys.path += [path for path in request["path"] if path not in sys.path]
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        data = json.dumps(answer(request)).encode()
        while data:
            data = data[os.write(out, data) :]
        code = 0
    except BaseException:  # noqa: BLE001 - told in the study's log.txt, and by the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Answers until the input ends and the last run has."""
    out = os.dup(1)
    os.dup2(2, 1)  # what a strategy prints is no answer
    torch.set_num_threads(1)
    index: dict[str, str] = {}
    children, rest, is_open = Children(out), b"", True
    signal.signal(signal.SIGTERM, lambda *_: children.stop())
    while is_open or children.numbers:
        for ready in select.select([*([0] if is_open else []), *children.numbers], [], [])[0]:
            if ready:
                children.hear(ready)
                continue
            data = os.read(0, 1 << 20)
            is_open = bool(data)
            *lines, rest = (rest + data).split(b"\n")
            for request in map(json.loads, lines):
                if "index" in request:  # of the study that begins
                    index = request["index"]
                else:
                    children.start(request, index)
            if not is_open:
                children.stop()
