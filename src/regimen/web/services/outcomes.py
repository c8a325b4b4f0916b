"""How a run stands or ended, in a sentence, and what to do next: told from what is recorded, never guessed further."""

from __future__ import annotations

import signal
from typing import Literal, NamedTuple

from regimen.records.reader import Record
from regimen.web.services.logs import tail

Kind = Literal[
    "queued",
    "running",
    "completed",
    "stopped",
    "diverged",
    "refused",
    "out_of_memory",
    "disk_full",
    "killed",
    "crashed",
    "lost",
    "plugin",
    "settings",
    "internal",
]
_BY_CODE: dict[int, Kind] = {1: "plugin", 2: "settings", 3: "refused", 4: "diverged", 5: "stopped"}
_MEMORY_WORDS = ("out of memory", "outofmemoryerror", "can't allocate memory", "bad_alloc", "memoryerror")
_DISK_WORDS = ("disk is full", "no space left", "disk quota exceeded", "database or disk is full")
_UNRECORDED = "its end could not be recorded"
"""Says the keeper of a process that ended by itself and left no status."""
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})

NEXT: dict[Kind, str] = {
    "queued": "Wait, move it up in the queue, or edit a clone of it.",
    "running": "Watch it, or stop it: it saves, and can be resumed.",
    "completed": "Compare it with other runs, talk to its model, or export it.",
    "stopped": "Resume it: it goes on from its last checkpoint.",
    "diverged": "Clone it with a lower strategy.optimizer.lr, more warm-up or clipping; the weights of the last "
    "checkpoint are good ones.",
    "refused": "Change what the message names in a clone, and check it before it is started.",
    "out_of_memory": "Clone it with a smaller strategy.batch_size, shorter rows or a smaller model; or free memory and "
    "resume it.",
    "disk_full": "Free some space (old checkpoints: regimen prune), then resume it.",
    "killed": "If memory was short, clone it with a smaller strategy.batch_size; else resume it: it goes on from its "
    "last checkpoint.",
    "crashed": "Native code broke off. Resume it; if it breaks at the same step, look at the versions in "
    "environment.json.",
    "lost": "Resume it: it goes on from its last checkpoint.",
    "plugin": "Mend the file that the message names; the traceback is in the log. Then resume it.",
    "settings": "Put right what the message names, in a clone or in the file; then start it again.",
    "internal": "Report it with its log; resuming may help.",
}


class Outcome(NamedTuple):
    kind: Kind
    sentence: str
    next_step: str
    log_tail: list[str]
    """The last lines of its log, where they may explain something."""


def explain(record: Record) -> Outcome:
    """How a run stands, or of what it ended."""
    kind = _kind(record)
    calm = kind in ("queued", "running", "completed")
    lines = [] if calm else tail(record)
    return Outcome(kind, _sentence(record, kind), NEXT[kind], lines)


def _kind(record: Record) -> Kind:
    status, code = record.status, record.state.get("exit_code")
    if status in ("queued", "running", "completed", "stopped", "diverged", "refused"):
        return status
    if code == 75:
        return _resource(record)
    if status == "failed" and _UNRECORDED in str(record.state.get("message")):
        return "crashed"
    if status == "failed":
        return _BY_CODE.get(code or 70, "internal")
    return _death(record)


def _resource(record: Record) -> Kind:
    """Of what the machine ran out. A process that cannot even write how it ended has no disk left."""
    said = str(record.state.get("message", "")).lower()
    if any(word in said for word in _MEMORY_WORDS):
        return "out_of_memory"
    if any(word in said for word in (*_DISK_WORDS, _UNRECORDED)):
        return "disk_full"
    return "killed"  # a process that trained with it is gone


def _death(record: Record) -> Kind:
    """Of what the process of a lost run died: its signal, and what was printed at the end."""
    said = "\n".join(tail(record, 20)).lower()
    if any(word in said for word in _MEMORY_WORDS):
        return "out_of_memory"
    if any(word in said for word in _DISK_WORDS):
        return "disk_full"
    number = record.state.get("signal")
    if number in (signal.SIGKILL, signal.SIGTERM):
        return "killed"
    return "crashed" if number in _CRASHES else "lost"


def _sentence(record: Record, kind: Kind) -> str:
    state = record.state
    said = str(state.get("message") or "").strip()
    if kind == "queued":
        deaths = state.get("deaths", 0)
        again = f"Waits for another process: {deaths} died, the last one {state.get('last_death')}."
        return again if deaths else "Waits in the queue."
    if kind == "running":
        return "Is being trained."
    if kind == "completed":
        return "Completed."
    if kind == "killed" and record.status == "lost":
        return f"Killed: {said or 'its process'} That is what the kernel does when memory runs out, or somebody did it."
    if not said:
        return "Its process is gone without a word: killed, or the machine was switched off."
    return said[0].upper() + said[1:]
