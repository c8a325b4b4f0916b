"""The helper's own end: reads a request a line, forks a process for each, writes an answer a line.

A request is forked, so that a plug-in that crashes, leaks or exits takes only itself along, and a file that was
changed is read anew. What one child imported, the parent imports after it, so that the next need not. The parent never
looks for a GPU: a process that has touched one cannot be forked. See `client` for the other end.

A request is `{"number", "operation", "arguments", "folder", "patience_s"}`; its answer `{"number"}` with one of
`answer`, `error` (of `regimen.errors`, or another exception), and `died` (how the process ended that was to answer).
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import math
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regimen.errors import RegimenError

LOOK_S = 0.2
"""Between two looks at the time and the memory that children take."""

_KEPT = (
    *("regimen", "torch", "transformers", "peft", "datasets", "tokenizers", "accelerate", "safetensors"),
    *("huggingface_hub", "pyarrow", "pandas", "numpy", "scipy", "sklearn", "jinja2", "fsspec"),
)
"""Packages whose modules are imported for all once a child needed them. What else a plug-in imports is its own."""

_FIRST = ("torch", "regimen.web.helper.operations", "regimen.finetune.preflight", "peft")
"""Imported at once: most questions are about fine-tuning."""


@dataclass
class Child:
    """A process that answers one request."""

    number: int
    process: int
    deadline: float
    """When it is ended, by `time.monotonic`."""
    said: bytearray = field(default_factory=bytearray)


class Serving:
    """The parent's loop. `out` is where answers go; `most_memory` in bytes is what one child may hold; `gpus` is what
    children may see as CUDA_VISIBLE_DEVICES, None for all.
    """

    def __init__(self, out: int, most_memory: int, gpus: str | None) -> None:
        self.out, self.most_memory, self.gpus = out, most_memory, gpus
        self.children: dict[int, Child] = {}
        self.to_import: list[str] = []
        """Modules that are imported when nothing is asked."""

    def serve(self) -> None:
        """Answers until the input ends; nobody reads then, so what still runs is ended."""
        rest = b""
        while True:
            wait = 0.0 if self.to_import else LOOK_S if self.children else None
            ready = select.select([0, *self.children], [], [], wait)[0]
            for pipe in ready:
                if pipe:
                    self._hear(pipe)
            if 0 in ready:
                data = os.read(0, 1 << 20)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._fork(json.loads(line))
            if not ready and self.to_import:
                self._import_one()
            self._look()
        for pipe in list(self.children):
            self._end(pipe)

    # ------------------------------------------------------------------ children

    def _fork(self, request: Mapping[str, Any]) -> None:
        reads, writes = os.pipe()
        process = os.fork()
        if process == 0:
            _show(self.gpus)
            _work(request, writes)
        os.close(writes)
        self.children[reads] = Child(request["number"], process, time.monotonic() + request["patience_s"])

    def _hear(self, pipe: int) -> None:
        child = self.children[pipe]
        data = os.read(pipe, 1 << 20)
        child.said += data
        if data.endswith(b"\n"):
            self._end(pipe)
            self._pass_on(child, json.loads(child.said))
        elif not data:
            self._pass_on(child, {"died": _words(self._end(pipe))})

    def _look(self) -> None:
        """Ends who takes too long or too much; finds who died while a process of its own keeps the pipe open."""
        for pipe, child in list(self.children.items()):
            why = ""
            if time.monotonic() > child.deadline:
                why = "took too long"
            elif _memory(child.process) > self.most_memory:
                why = f"took more than {self.most_memory / 1e9:.1f} GB of memory"
            elif _is_dead(child.process) and not select.select([pipe], [], [], 0)[0]:
                why = "ended without an answer"
            if why:
                self._end(pipe)
                self._pass_on(child, {"died": why})

    def _end(self, pipe: int) -> int:
        """Ends a child with all that it started; its exit code."""
        child = self.children.pop(pipe)
        os.close(pipe)
        if not child.said.endswith(b"\n") and _is_dead(child.process):
            code = os.waitstatus_to_exitcode(os.waitpid(child.process, 0)[1])
            _kill_group(child.process)
            return code
        _kill_group(child.process)
        with suppress(ProcessLookupError):
            os.kill(child.process, signal.SIGKILL)  # it may not have a group of its own yet
        return os.waitstatus_to_exitcode(os.waitpid(child.process, 0)[1])

    def _pass_on(self, child: Child, answer: dict[str, Any]) -> None:
        self.to_import += [name for name in answer.pop("modules", ()) if name not in sys.modules]
        line = (json.dumps({**answer, "number": child.number}) + "\n").encode()
        while line:
            line = line[os.write(self.out, line) :]

    def _import_one(self) -> None:
        with suppress(Exception):  # some are made by other modules, not found in files
            importlib.import_module(self.to_import.pop(0))
        if not self.to_import:
            _settle()


def _settle() -> None:
    """Takes what is loaded out of garbage collection, which would copy its pages into each child."""
    gc.collect()
    gc.freeze()


def _kill_group(process: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)


def _is_dead(process: int) -> bool:
    """Whether it has ended; it is left to be waited for."""
    found = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None


def _memory(process: int) -> int:
    """Bytes that a process holds; 0 where the system does not say."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _words(code: int) -> str:
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended by itself, with exit code {code}"


# ------------------------------------------------------------------------------------------- in a process of its own


def _work(request: Mapping[str, Any], out: int) -> None:
    """Answers and ends, without the clean-up of the process that it was forked from."""
    try:
        _apart()
        known = set(sys.modules)
        answer = _answer(request)
        new = [name for name in list(sys.modules) if name not in known and name.partition(".")[0] in _KEPT]
        body = (json.dumps(plain({**answer, "modules": new})) + "\n").encode()
        while body:
            body = body[os.write(out, body) :]
    except BaseException:  # noqa: BLE001 - the parent says that there was no answer
        traceback.print_exc()
        os._exit(70)
    os._exit(0)


def _show(gpus: str | None) -> None:
    os.environ.pop("CUDA_VISIBLE_DEVICES")
    if gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus


def _apart() -> None:
    """A process group of its own that dies with the helper, reads nothing of its input, and goes first if memory is
    short.
    """
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    from regimen.web.helper.operations import OPERATIONS

    try:
        os.chdir(request["folder"])
        return {"answer": OPERATIONS[request["operation"]](**request["arguments"])}
    except RegimenError as error:
        return {"error": type(error).__name__, "problems": [list(problem) for problem in error.problems]}
    except SystemExit as error:
        return {"died": f"ended by itself, with sys.exit({error.code!r})"}
    except BaseException as error:  # noqa: BLE001 - told to who asked
        traceback.print_exc()
        return {"error": "InternalError", "problems": [["", f"{type(error).__name__}: {error}", ""]]}


def plain(value: Any) -> Any:
    """As JSON takes it: null for NaN and infinities, text for what is no JSON, half characters replaced."""
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value).encode("utf-8", "replace").decode()


def main() -> None:
    """`python -m regimen.web.helper.serving BYTES`: the memory that one question may take."""
    out = os.dup(1)
    os.dup2(2, 1)  # what a plug-in prints is no answer
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # whatever is imported here finds no GPU: bitsandbytes looks for one
    import torch

    for name in _FIRST:
        importlib.import_module(name)
    torch.set_num_threads(1)
    serving = Serving(out, int(sys.argv[1]), gpus)
    serving.to_import += _built_in()
    _settle()
    serving.serve()
    os._exit(0)


def _built_in() -> list[str]:
    """The modules of our own plug-ins. What is found once, children need not look for."""
    from regimen.kinds import KINDS
    from regimen.registry import plugins

    found = [(kind, plugin) for kind in KINDS for plugin in plugins(kind, Path(os.devnull))]
    return [f"{KINDS[kind].package}.{plugin.path.stem}" for kind, plugin in found if plugin.origin == "built in"]


if __name__ == "__main__":
    main()
