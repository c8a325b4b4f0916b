"""The server's end of the model server: ask from any thread or task; it is started when needed and again when it died.

    async for said in models.said("write", asdict(ask)): ...       the last one is `{"done": ...}`
    models.ask("load", asdict(source))                             waits for the end alone

Whoever leaves off listening gives the request up.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from regimen.errors import Problem, ProcessLost
from regimen.logfile import printed_to
from regimen.web.refusal import from_answer

IDLE_S = 900.0
"""Without a request for so long, it is ended: models take memory that a run may need."""

Message = Mapping[str, Any]
Hear = Callable[[Message], None]


class ModelServer:
    """Starts with the first request. `idle_s`: see `IDLE_S`; 0 for never. What is printed there goes to the end of the
    file `log`; unset: to our own standard error.
    """

    def __init__(self, *, idle_s: float = IDLE_S, log: Path | None = None) -> None:
        self._log, self._idle_s, self._numbers = log, idle_s, itertools.count(1)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._hearing: dict[int, tuple[subprocess.Popen[bytes], Hear]] = {}
        self._rest: threading.Timer | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        with self._lock:
            return self._process.pid if self._process is not None and self._process.poll() is None else None

    def ask(self, operation: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the operation returns, at its end. Raises what it raised, as one of our errors."""
        heard: queue.Queue[Message] = queue.Queue()
        self._begin(operation, arguments, heard.put)
        while "done" not in (message := _checked(heard.get())):
            pass
        done: Mapping[str, Any] = message["done"]
        return done

    def forget(self, folder: str) -> None:
        """Lets go of the models of a folder, once what is being written has been written; does not wait for it."""
        if self.pid is not None:
            self._begin("drop", {"folder": folder}, lambda message: None)

    async def said(self, operation: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Message]:
        """Messages `{"said": ...}` and at last `{"done": ...}`. Raises what the operation raised.

        Cancelled or closed before the end, it gives the request up.
        """
        loop, heard = asyncio.get_running_loop(), asyncio.Queue[Message]()

        def hear(message: Message) -> None:
            with suppress(RuntimeError):  # nobody listens any more: the loop is closed
                loop.call_soon_threadsafe(heard.put_nowait, message)

        number = self._begin(operation, arguments, hear)
        try:
            while True:
                message = _checked(await heard.get())
                yield message
                if "done" in message:
                    return
        finally:
            self._give_up(number)

    def close(self) -> None:
        """Ends the process, whatever it does."""
        with self._lock:
            process, self._process = self._process, None
            self._rest_later(stop=True)
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _begin(self, operation: str, arguments: Mapping[str, Any], hear: Hear) -> int:
        request = {"operation": operation, "arguments": arguments}
        with self._lock:
            number, process = next(self._numbers), self._running()
            self._rest_later(stop=True)
            self._hearing[number] = process, hear
            self._write(process, {"number": number, **request})
        return number

    def _give_up(self, number: int) -> None:
        with self._lock:
            process, _ = self._hearing.pop(number, (None, None))
            if process is not None:
                self._write(process, {"cancel": number})
                self._rest_later()

    def _write(self, process: subprocess.Popen[bytes], request: Mapping[str, Any]) -> None:
        assert process.stdin is not None
        with suppress(OSError):  # the reader of its messages says that it is gone
            process.stdin.write((json.dumps(request) + "\n").encode())
            process.stdin.flush()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            with printed_to(self._log) as printed:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "regimen.web.modelserver.serving"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=printed,
                    start_new_session=True,
                )
            threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        return self._process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            with self._lock:
                _, hear = self._hearing.get(message["number"], (None, None))
                if "said" not in message:
                    self._hearing.pop(message["number"], None)
                    self._rest_later()
            if hear is not None:
                hear(message)
        with self._lock:
            if self._process is process:  # it may have closed its output and still be dying
                self._process = None
            left = [number for number, (whose, _) in self._hearing.items() if whose is process]
            hears = [self._hearing.pop(number)[1] for number in left]
        for hear in hears:
            hear(_DIED)
        process.wait()

    def _rest_later(self, *, stop: bool = False) -> None:
        """Counts the idle time from now on, if nothing is being done."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._idle_s and not stop and not self._hearing:
            self._rest = threading.Timer(self._idle_s, self._end_if_idle)
            self._rest.daemon = True
            self._rest.start()

    def _end_if_idle(self) -> None:
        with self._lock:
            if self._hearing or self._process is None:
                return
            process, self._process = self._process, None
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


_DIED: Message = {"died": True}


def _checked(message: Message) -> Message:
    if "died" in message:
        text = "ended while it was asked: it may not have had enough memory."
        raise ProcessLost(Problem("the model's process", text, "Ask again; a smaller or quantized model needs less."))
    if "error" in message:
        raise from_answer(message)
    return message
