"""The server's end of the helper: `ask` from any thread; a helper that died is started again."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from regimen.errors import Problem, ProcessLost
from regimen.web.refusal import from_answer

PATIENCE_S = 300.0
"""For one answer: every row of a large data set may have to be read."""


class Helper:
    """Starts with the first question. Questions do not wait for one another."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, itertools.count()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, _Waiting] = {}

    def warm(self) -> None:
        """Starts the process, so that the first question need not wait for its imports."""
        with self._lock:
            self._running()

    def ask(self, operation: str, *, patience_s: float = PATIENCE_S, **arguments: Any) -> Any:
        """What an operation of `helper.operations` returns. Raises what it raised, as one of our errors."""
        waiting = _Waiting()
        with self._lock:
            process, number = self._running(), next(self._numbers)
            self._waiting[number] = waiting
            request = {"number": number, "operation": operation, "arguments": arguments, "folder": str(self._folder)}
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # the reader of its answers says that it is gone
                process.stdin.write((json.dumps(request) + "\n").encode())
                process.stdin.flush()
        if not waiting.event.wait(patience_s):
            with self._lock:
                self._waiting.pop(number, None)
            text = f"gave no answer to {operation!r} within {patience_s:.0f} s."
            raise ProcessLost(Problem("the helper process", text, "Ask again, or use the command line."))
        answer = waiting.answer
        if answer is None or "died" in answer:
            text = f"ended while it was asked to {operation}."
            raise ProcessLost(Problem("the helper process", text, "A plug-in or the data may be too large for memory."))
        if "error" in answer:
            raise from_answer(answer)
        return answer["answer"]

    def close(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "regimen.web.helper.serving"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        return self._process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            with self._lock:
                waiting = self._waiting.pop(answer["number"], None)
            if waiting is not None:
                waiting.answer = answer
                waiting.event.set()
        with self._lock:
            left, self._waiting = self._waiting, {}
        for waiting in left.values():
            waiting.event.set()


class _Waiting:
    def __init__(self) -> None:
        self.event = threading.Event()
        self.answer: dict[str, Any] | None = None
