"""A process that has imported torch and forks a child for each command, so that tests can run, watch and kill real
processes.

`python warm.py` reads one JSON line a command from stdin and answers with one line: {"pid": ...} when it has started,
and {"pid": ..., "code": ...} when it has ended (a negative code is the signal that killed it).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


class Child:
    """A running command, in a process group of its own."""

    def __init__(self, warm: Warm, pid: int, folder: Path) -> None:
        self.warm, self.pid, self.folder = warm, pid, folder

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.killpg(self.pid, number)

    @property
    def running(self) -> bool:
        self.warm._read(0)
        return self.pid not in self.warm.codes

    def wait(self, timeout_s: float = 300) -> Ended:
        code = self.warm._code(self.pid, timeout_s)
        said = [self.folder / name for name in ("out", "err")]  # not there where it was said to a terminal
        return Ended(code, *(path.read_text(errors="replace") if path.exists() else "" for path in said))


class Warm:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.codes: dict[int, int] = {}
        self._started: list[int] = []
        self._rest = b""
        self._number = 0

    def start(
        self, *words: object, cwd: Path | None = None, env: dict[str, str] | None = None, terminal: str | None = None
    ) -> Child:
        """Starts `regimen WORDS` in a folder (the current one), on a terminal if one is named, such as /dev/pts/3."""
        cwd = cwd or Path.cwd()
        self._number += 1
        folder = cwd / f".command-{self._number}"
        folder.mkdir()
        request = {"argv": [str(word) for word in words], "cwd": str(cwd), "folder": str(folder), "env": env or {}}
        request["terminal"] = terminal
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + 120
        while not self._started:
            self._read(1.0)
            assert time.monotonic() < deadline, "the warm process did not answer"
        return Child(self, self._started.pop(0), folder)

    def run(
        self, *words: object, cwd: Path | None = None, env: dict[str, str] | None = None, timeout_s: float = 300
    ) -> Ended:
        return self.start(*words, cwd=cwd, env=env).wait(timeout_s)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _code(self, pid: int, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while pid not in self.codes:
            self._read(0.2)
            assert time.monotonic() < deadline, f"the command is still running after {timeout_s} s"
        return self.codes[pid]

    def _read(self, wait_s: float) -> None:
        assert self._process.stdout is not None
        if select.select([self._process.stdout], [], [], wait_s)[0]:
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, "the warm process has died"
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                answer = json.loads(line)
                if "code" in answer:
                    self.codes[answer["pid"]] = answer["code"]
                else:
                    self._started.append(answer["pid"])


def _child(request: dict[str, Any]) -> None:
    os.setpgid(0, 0)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, name in ((1, "out"), (2, "err")):
        path = request["terminal"] or Path(request["folder"]) / name
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOCTTY), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    sys.argv = ["regimen", *request["argv"]]
    from regimen.cli import main

    code = main(request["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve() -> None:
    import peft  # noqa: F401 - imported once here, not in every child
    import torch
    import trl  # noqa: F401
    from transformers import LlamaForCausalLM, Trainer  # noqa: F401

    import regimen.execute
    import regimen.finetune.session  # noqa: F401

    torch.set_num_threads(1)
    rest = b""
    while True:
        ready = select.select([0], [], [], 0.01)[0]
        if ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    try:
                        _child(json.loads(line))
                    finally:
                        os._exit(99)
                os.write(1, json.dumps({"pid": pid}).encode() + b"\n")
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            os.write(1, json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


if __name__ == "__main__":
    _serve()
