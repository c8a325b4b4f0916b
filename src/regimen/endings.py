"""How a run ends: any exception as one of ours, signals as a wish to stop, and several processes with one voice."""

from __future__ import annotations

import json
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from regimen.choices import CheckedSpec
from regimen.errors import (
    Diverged,
    InternalError,
    OutOfMemory,
    Problem,
    ProcessLost,
    Refused,
    RegimenError,
    Stopped,
    StrategyFailed,
)
from regimen.handle import Run
from regimen.records.writer import Status, disk_full_named
from regimen.registry import Plugin

if TYPE_CHECKING:  # a server that gives runs their end imports no PyTorch
    from regimen.processes import Processes


def status_of(error: RegimenError) -> Status:
    if isinstance(error, Stopped):
        return "stopped"
    if isinstance(error, Diverged):
        return "diverged"
    return "refused" if isinstance(error, Refused) else "failed"


def as_ours(error: BaseException, spec: CheckedSpec, processes: Processes) -> RegimenError:
    """The error as one of ours: with an exit code, and the place in the plug-in where there is one.

    Where it only says that another process is gone, it becomes what that one died of.
    """
    if not isinstance(error, RegimenError) or isinstance(error, ProcessLost):
        words = processes.last_words()
        if words is not None:
            return from_words(words)
    if isinstance(error, RegimenError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Stopped("interrupted before anything could be saved; `regimen resume` goes on from the last checkpoint.")
    if _is_out_of_memory(error):
        return OutOfMemory(
            Problem("", "out of memory.", "Lower strategy.batch_size, shorten rows, or use a smaller model.")
        )
    try:
        with disk_full_named(Path(str(getattr(error, "filename", None) or spec.output))):
            raise error
    except RegimenError as full:
        return full
    except BaseException:  # noqa: BLE001 - `error` itself, raised just above
        pass
    theirs = in_plugin(error, spec.strategy.plugin, "The traceback is in the run's log.txt.")
    if theirs:
        return theirs
    text = f"an error of Regimen itself: {_text(error)}"
    return InternalError(Problem("", text, "Please report it with the run's log.txt."))


def in_plugin(error: BaseException, plugin: Plugin, fix: str) -> StrategyFailed | None:
    """An exception that passed through a plug-in's file, with the line there; None for our own files and others."""
    path = plugin.path.resolve()
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path]
    if not lines or plugin.origin == "built in":
        return None
    return StrategyFailed(Problem(f"{plugin.path}:{lines[-1]}", _text(error), fix))


@contextmanager
def plugins_named(*plugins: Plugin) -> Iterator[None]:
    """Exceptions of these plug-ins' own files as `StrategyFailed`, also before there is a run."""
    try:
        yield
    except RegimenError:
        raise
    except Exception as error:
        for plugin in plugins:
            theirs = in_plugin(error, plugin, "`--traceback` shows all of it.")
            if theirs:
                raise theirs from error
        raise


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". ") + "."


def _is_out_of_memory(error: BaseException) -> bool:
    """Python's, the GPU's (`torch.OutOfMemoryError`), or that of PyTorch's allocator for the CPU, a plain error."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


# ------------------------------------------------------------------------------------------------ several processes


@contextmanager
def ending_together(processes: Processes) -> Iterator[None]:
    """What one process dies of, all die of: none waits for one that is gone."""
    try:
        yield
        processes.agreed(None)  # the first has recorded the end
    except BaseException as error:
        words = processes.last_words() if isinstance(error, ProcessLost) else None
        processes.leave(in_words(error))
        if words is not None:
            raise from_words(words) from error
        raise


def in_words(error: BaseException) -> str:
    """An error as text for the other processes, with its traceback."""
    if not isinstance(error, RegimenError):
        error = InternalError(f"{type(error).__name__}: {error}")
    said = {
        "kind": type(error).__name__,
        "problems": error.problems,
        "step": getattr(error, "step", 0),
        "traceback": "".join(traceback.format_exception(error)),
    }
    return json.dumps(said)


def from_words(words: str) -> RegimenError:
    """The error that another process had; its traceback there is a note of it."""
    said: Mapping[str, Any] = json.loads(words)
    problems = [Problem(*problem) for problem in said["problems"]]
    kind = _kinds(RegimenError).get(said["kind"], InternalError)
    error = Diverged(problems, said["step"]) if kind is Diverged else kind(problems)
    error.add_note(f"In another process:\n{said['traceback']}")
    return error


def _kinds(kind: type[RegimenError]) -> dict[str, type[RegimenError]]:
    found = {kind.__name__: kind}
    for below in kind.__subclasses__():
        found |= _kinds(below)
    return found


# ------------------------------------------------------------------------------------------------ signals


@contextmanager
def stopping_on_signals(*handles: Run) -> Iterator[None]:
    """SIGTERM and the first Ctrl-C ask the runs to save and stop; a second Ctrl-C ends them at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and all(handle.stop_reason for handle in handles):
            raise KeyboardInterrupt
        for handle in handles:
            handle.request_stop(f"received {signal.Signals(number).name}")

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
