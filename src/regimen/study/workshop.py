"""Runs in parallel processes, each forked from one that has imported PyTorch; a crash is one run's failure.

with Workshop(folder, processes=2) as workshop:
    workshop.submit({"do": "settle", ...})
    answer = workshop.wait()
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from regimen import errors
from regimen.errors import Problem, ProcessLost, RegimenError
from regimen.study.warmprocess import WarmProcess

OUTPUT = "log.txt"
"""In the study's folder: what the processes print, and the last words of one that crashes."""


class Answer(NamedTuple):
    """What came back for a request."""

    request: Mapping[str, Any]
    body: Mapping[str, Any]
    died: int | None
    """Exit code of a process that ended without an answer; below 0 it is the signal."""
    error: RegimenError | None
    """What our own checks or the run raised, where there is no record of it."""

    def parts(self) -> list[Answer]:
        """One answer for each run, where several were asked for together."""
        if "answers" not in self.body:
            return [self]
        pairs = zip(self.request["requests"], self.body["answers"], strict=True)
        return [Answer(request, body, None, _error(body.get("error"))) for request, body in pairs]


class Workshop:
    """`processes` requests at the same time, forked from `warm`; None starts a process for this workshop alone."""

    def __init__(
        self,
        folder: Path,
        processes: int,
        *,
        index: Mapping[str, str] | None = None,
        warm: WarmProcess | None = None,
    ) -> None:
        self.folder, self.processes = folder, processes
        self._index: Mapping[str, str] | None = index or {}
        """Folders of runs that are there already, by content hash; None once they are sent."""
        self._own, self._warm = warm is None, warm or WarmProcess()
        self._requests: dict[int, Mapping[str, Any]] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Asks what runs to save and end, and waits for it; after a second Ctrl-C it does not wait."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._warm.kill()
        elif self._requests:
            self.stop()
            with suppress(ProcessLost):
                while self._requests:
                    self.wait()
        if self._own:
            self._warm.close()

    @property
    def num_free(self) -> int:
        """Processes that have nothing to do."""
        return self.processes - len(self._requests)

    @property
    def is_idle(self) -> bool:
        return not self._requests

    def look_up(self, index: Mapping[str, str]) -> None:
        """Has later requests find these runs, by content hash, instead of those known before."""
        self._index = index

    def submit(self, request: Mapping[str, Any]) -> None:
        """Starts work on a request, a mapping that JSON can hold."""
        if self._index is not None:
            self._warm.send({"index": self._index})
            self._index = None
        self._count += 1
        self._requests[self._count] = request
        place = {
            "cwd": str(Path.cwd()),
            "path": [path for path in sys.path if path],
            "output": str(self.folder / OUTPUT),
        }
        self._warm.send({**request, **place, "number": self._count})

    def wait(self) -> Answer:
        """The next answer, in the order of completion. Raises `ProcessLost` if there will be none."""
        try:
            body = self._warm.receive()
        except ProcessLost:
            self._requests.clear()
            raise
        return Answer(self._requests.pop(body["number"]), body, body.get("died"), _error(body.get("error")))

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """One request by itself. Raises what it raised."""
        assert self.is_idle
        self.submit(request)
        answer = self.wait()
        if answer.error:
            raise answer.error
        if answer.died is not None:
            text = f"a process ended with code {answer.died} while it worked on a {request['do']}."
            raise ProcessLost(Problem(str(self.folder / OUTPUT), text, "Its last words are there."))
        return answer.body

    def stop(self) -> None:
        """Asks what runs to save and end; their answers still come."""
        self._warm.stop()


def _error(said: Mapping[str, Any] | None) -> RegimenError | None:
    """An error of ours as the other process told it."""
    if said is None:
        return None
    kind: type[RegimenError] = getattr(errors, said["kind"], errors.InternalError)
    problems = [Problem(*problem) for problem in said["problems"]]
    return errors.Diverged(problems, 0) if kind is errors.Diverged else kind(problems)
