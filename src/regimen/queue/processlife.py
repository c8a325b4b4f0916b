"""Which process is meant: a number alone is given to another process one day, so its moment of birth belongs to it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path


def birth(pid: int) -> str:
    """When a process began, told apart from every other process that has or had its number; empty if it is not there.

    A process that has ended and that nobody has waited for yet is not there.
    """
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _birth_by_ps(pid)
    except OSError:
        return ""
    fields = said.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else f"{_boot()} {fields[19]}"  # field 22 of proc(5): ticks since boot


def lives(pid: int, born: str) -> bool:
    """Whether the process that began then is still there."""
    return pid > 0 and born != "" and birth(pid) == born


def send(pid: int, born: str, number: signal.Signals) -> bool:
    """Sends a signal to that process and the group that it leads. False if it is not there any more."""
    if not lives(pid, born):
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
        return True
    return False


def kills_for_memory() -> int:
    """How many processes the kernel has ended so far because memory ran out, here; 0 where it does not say."""
    for path in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with suppress(OSError, ValueError):
            for line in path.read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return 0


@functools.cache
def _boot() -> str:
    """Names the time since the machine was switched on: ticks and process numbers begin anew with it."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _birth_by_ps(pid: int) -> str:
    """Where there is no /proc."""
    found = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, began = found.stdout.strip().partition(" ")
    return "" if not state or state.startswith("Z") else began.strip()
