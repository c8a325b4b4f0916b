"""The model server's own end: reads a request a line, does one after the other, writes messages a line.

    {"number": 1, "operation": "write", "arguments": {...}}
        -> {"number": 1, "said": ...} as often as there is something to say, then {"number": 1, "done": ...}
    {"cancel": 1}
        -> the request ends early, or is never begun

It ends when its input ends, so it never outlives the server. See `client` for the other end.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regimen.errors import OutOfMemory, Problem, RegimenError
from regimen.web.modelserver.asked import Ask, Source

if TYPE_CHECKING:
    from regimen.web.modelserver.holding import Shelf


class Serving:
    """Requests wait for one another: two answers at once would each take twice as long, and share one model's state."""

    def __init__(self, requests: int, out: int) -> None:
        self._requests, self._out = requests, out
        self._jobs: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self._cancelled: set[int] = set()

    def serve(self) -> None:
        """Until the input ends."""
        threading.Thread(target=self._work, daemon=True).start()
        for line in os.fdopen(self._requests, "rb"):
            request = json.loads(line)
            if "cancel" in request:
                self._cancelled.add(request["cancel"])
            else:
                self._jobs.put(request)
        os._exit(0)  # without waiting for the token that is being computed

    def _work(self) -> None:
        from regimen.web.modelserver.holding import Shelf

        shelf = Shelf()
        while True:
            request = self._jobs.get()
            number = request["number"]
            if number not in self._cancelled:
                self._say(number, _outcome(self, shelf, request))
            self._cancelled.discard(number)

    def do(self, shelf: Shelf, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What an operation returns."""
        number, arguments = request["number"], request["arguments"]
        match request["operation"]:
            case "write":
                from regimen.web.modelserver.writing import write

                ask = Ask.from_json(arguments)
                return write(
                    shelf.get(ask.source),
                    ask,
                    lambda said: self._say(number, {"said": said}),
                    lambda: number in self._cancelled,
                )
            case "compare":
                from regimen.web.modelserver.comparing import compare

                return compare(shelf, Ask.from_json(arguments))
            case "load":
                return _described(shelf, Source(**arguments))
            case "drop":
                shelf.drop(arguments["folder"])
                return {}
            case other:
                raise ValueError(f"unknown operation {other!r}")

    def _say(self, number: int, message: Mapping[str, Any]) -> None:
        line = (json.dumps({"number": number, **message}) + "\n").encode()
        while line:
            line = line[os.write(self._out, line) :]


def _described(shelf: Shelf, source: Source) -> dict[str, Any]:
    held = shelf.get(source)
    return {
        "chat": bool(held.tokenizer.chat_template),
        "longest": held.longest,
        "vocabulary": held.vocabulary,
        "device": str(held.device),
        "dtype": held.dtype,
    }


def _outcome(serving: Serving, shelf: Shelf, request: Mapping[str, Any]) -> dict[str, Any]:
    """What is said last: the end, or what went wrong."""
    import torch

    try:
        return {"done": serving.do(shelf, request)}
    except RegimenError as error:
        return _error(error)
    except (torch.OutOfMemoryError, MemoryError) as error:
        shelf.drop()
        first = str(error).partition("\n")[0]
        fix = "Ask with a shorter prompt, or when no run needs the memory."
        return _error(OutOfMemory(Problem("the model", f"ran out of memory: {first}", fix)))
    except Exception as error:  # noqa: BLE001 - told to who asked
        traceback.print_exc()
        return {"error": "InternalError", "problems": [["the model", f"{type(error).__name__}: {error}", ""]]}


def _error(error: RegimenError) -> dict[str, Any]:
    return {"error": type(error).__name__, "problems": [list(problem) for problem in error.problems]}


def main() -> None:
    """With both ends kept from libraries: what one prints goes to standard error, and what one asks has no answer."""
    requests, out = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    Serving(requests, out).serve()


if __name__ == "__main__":
    main()
