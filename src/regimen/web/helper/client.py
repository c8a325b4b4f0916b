"""The server's end of the helper: `ask` from any thread; a helper that died is started again."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regimen.errors import Problem, ProcessLost
from regimen.logfile import printed_to
from regimen.web.refusal import from_answer

PATIENCE_S = 300.0
"""For one answer: every row of a large data set may have to be read."""
_MORE_S = 60.0
"""Besides, for the helper's own imports and to hear that it gave up."""
_END_S = 5.0
"""For the helper to end what runs when the server ends."""


class Helper:
    """Starts with the first question. Questions do not wait for one another.

    `most_memory` is how many bytes the answer to one question may take; unset: half of the machine's. What plug-ins and
    libraries print goes to the end of the file `log`; unset: to our own standard error.
    """

    def __init__(self, folder: Path, *, most_memory: int | None = None, log: Path | None = None) -> None:
        self._folder, self._numbers, self._lock = folder, itertools.count(), threading.Lock()
        self._most_memory = most_memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        self._log = log
        self._started: _Started | None = None
        self._state, self._remembered = "", dict[str, Any]()

    def warm(self) -> None:
        """Starts the process, so that the first question need not wait for its imports."""
        with self._lock:
            self._running()

    @property
    def process(self) -> int | None:
        """The id of the process that is there now."""
        started = self._started
        return started.process.pid if started else None

    def ask(self, operation: str, *, patience_s: float = PATIENCE_S, **arguments: Any) -> Any:
        """What an operation of `helper.operations` returns.

        Raises what it raised, as one of our errors; `ProcessLost` if there is no answer: a plug-in ended the process,
        took more than `patience_s` seconds or too much memory, or the helper itself died. It is started again for the
        next question.
        """
        waiting = self._put(
            {"operation": operation, "arguments": arguments, "folder": str(self._folder), "patience_s": patience_s}
        )
        answered = waiting.event.wait(patience_s + _MORE_S)
        answer = waiting.answer
        if answer is None:
            why = "died" if answered else f"gave no answer within {patience_s + _MORE_S:.0f} s"
            raise ProcessLost(Problem("the helper process", f"{why} while it was asked to {operation}.", "Ask again."))
        if "died" in answer:
            text = f"the process that was asked to {operation} {answer['died']}."
            fix = "A plug-in may do that, or data too large; `regimen check` on the command line shows what it printed."
            raise ProcessLost(Problem("", text, fix))
        if "error" in answer:
            raise from_answer(answer)
        return answer["answer"]

    def recall(self, state: str, operation: str, **arguments: Any) -> Any:
        """As `ask`, but the answer is remembered for as long as `state` stays the same. Not to be changed."""
        key = json.dumps([operation, arguments], sort_keys=True)
        with self._lock:
            if self._state != state:
                self._state, self._remembered = state, {}
            remembered = self._remembered
        if key not in remembered:
            remembered[key] = self.ask(operation, **arguments)
        return remembered[key]

    def close(self) -> None:
        """Ends the process and what it was asked. Another question would start it again."""
        with self._lock:
            started, self._started = self._started, None
        if started is None:
            return
        with suppress(OSError):
            started.stdin.close()
        try:
            started.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            started.process.kill()
            started.process.wait()

    def _put(self, request: dict[str, Any]) -> _Waiting:
        """Passes a question on, to a new process if the one that was there has died."""
        with self._lock:
            for _ in range(2):
                started, number = self._running(), next(self._numbers)
                try:
                    return started.put(number, {**request, "number": number})
                except OSError:
                    started.process.kill()
                    started.process.wait()
        raise ProcessLost(Problem("the helper process", "does not start.", "See what it printed in the server's log."))

    def _running(self) -> _Started:
        if self._started is None or self._started.process.poll() is not None:
            self._started = _Started(self._most_memory, self._log)
        return self._started


@dataclass
class _Waiting:
    event: threading.Event = field(default_factory=threading.Event)
    answer: dict[str, Any] | None = None
    """None where the process died before it answered."""


class _Started:
    """One helper process and who waits for it."""

    def __init__(self, most_memory: int, log: Path | None) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # to look whether there is a GPU without touching it
        }
        with printed_to(log) as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "regimen.web.helper.serving", str(most_memory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=printed,
                env=environment,
                start_new_session=True,
            )
        assert self.process.stdin is not None
        self.stdin = self.process.stdin
        self._waiting: dict[int, _Waiting] = {}
        self._lock = threading.Lock()
        self._has_ended = False
        threading.Thread(target=self._listen, daemon=True).start()

    def put(self, number: int, request: dict[str, Any]) -> _Waiting:
        """Raises `OSError` if the process has died."""
        waiting = _Waiting()
        with self._lock:
            if self._has_ended:
                raise BrokenPipeError
            self._waiting[number] = waiting
        self.stdin.write((json.dumps(request) + "\n").encode())
        self.stdin.flush()
        return waiting

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                answer = json.loads(line)
            except ValueError:  # torn: it was killed
                break
            with self._lock:
                waiting = self._waiting.pop(answer["number"], None)
            if waiting is not None:
                waiting.answer = answer
                waiting.event.set()
        with self._lock:
            self._has_ended, left, self._waiting = True, self._waiting, {}
        for waiting in left.values():
            waiting.event.set()
