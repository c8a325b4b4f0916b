"""The study's end of the process that all runs are forked from; see `warm` for the other end.

with WarmProcess() as warm:           # several studies one after the other need not each import PyTorch
    tune("a.yaml", warm=warm)
    tune("b.yaml", warm=warm)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from regimen.errors import Problem, ProcessLost


class WarmProcess:
    """Starts with the first request, in a session of its own: Ctrl-C reaches the study alone, which asks its runs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, body: Mapping[str, Any]) -> None:
        """One line."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from regimen.study.warm import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                start_new_session=True,
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `receive` says that it is gone
            self._process.stdin.write((json.dumps(body) + "\n").encode())
            self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next line. Raises `ProcessLost` where there will be none."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            text = f"the process that runs are forked from has ended with code {self._process.wait()}."
            self.close()
            raise ProcessLost(Problem("", text, "Start again: what has ended is kept."))
        body: dict[str, Any] = json.loads(line)
        return body

    def stop(self) -> None:
        """Asks what it has forked to save and end."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends it and what it has forked, at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self.close()

    def close(self) -> None:
        """Waits for what it has forked; the next request starts another one."""
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):
                    pipe.close()
            process.wait()
