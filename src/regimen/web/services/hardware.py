"""What this machine has, without PyTorch: cores, memory, GPUs, disk, versions, and who trains on which device."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from regimen.environment import PACKAGES, package_version
from regimen.queue.enqueue import has_gpu
from regimen.web.services.parts import Parts
from regimen.web.services.queueing import slots

_ASK_EVERY_S = 2
"""A page that asks more often gets the same answer about GPUs."""


@dataclass(frozen=True)
class Gpu:
    """One that NVIDIA's driver knows."""

    index: int
    name: str
    memory_bytes: int
    memory_used_bytes: int
    busy: float | None
    """Fraction of the last moments, 0 to 1; None where it does not say."""


class Device(NamedTuple):
    """What a run can have to itself."""

    name: str
    """`cpu`, `cuda:0`, ..."""
    slots: int
    """Runs at once."""
    running: list[str]
    """Their ids."""


class Hardware(NamedTuple):
    """What this machine has, and how much of it is free."""

    cores: int
    """That this server may use."""
    load: float
    """Processes that want a core, over the last minute."""
    memory_bytes: int
    memory_free_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    """Where the runs are."""
    gpus: list[Gpu]
    devices: list[Device]
    platform: str
    python: str
    versions: dict[str, str]


def hardware(parts: Parts) -> Hardware:
    """As it is now; GPUs as of a moment ago."""
    total, free = _memory()
    disk = shutil.disk_usage(parts.home.folder)
    gpus = _gpus(int(time.monotonic()) // _ASK_EVERY_S) if has_gpu() else []
    return Hardware(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=os.getloadavg()[0],
        memory_bytes=total,
        memory_free_bytes=free,
        disk_bytes=disk.total,
        disk_free_bytes=disk.free,
        gpus=gpus,
        devices=devices(parts, [f"cuda:{gpu.index}" for gpu in gpus]),
        platform=platform.platform(),
        python=platform.python_version(),
        versions={name: number for name in PACKAGES if (number := package_version(name))},
    )


def devices(parts: Parts, gpus: list[str]) -> list[Device]:
    """Every device that is there or that a run of the queue wants, and who has it."""
    running = parts.queue.rows("running")
    names = dict.fromkeys(["cpu", *gpus, *[row.device for row in parts.queue.rows("queued", "running")]])
    return [Device(name, slots(parts), [row.id for row in running if row.device == name]) for name in names]


def _memory() -> tuple[int, int]:
    """Bytes in all and free, within the limit of this container."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            found[name] = 1024 * int(value.split()[0])
    total = found.get("MemTotal", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    free = found.get("MemAvailable", total)
    with suppress(OSError, ValueError):  # "max" is no number, and no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


@functools.lru_cache(maxsize=1)
def _gpus(moment: int) -> list[Gpu]:
    """As NVIDIA's own tool tells; none where it is not installed."""
    asked = "index,name,memory.total,memory.used,utilization.gpu"
    words = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in said.splitlines() if (gpu := read_gpu(line))]


def read_gpu(line: str) -> Gpu | None:
    """One line of its answer, memory in MiB and use in percent; None if it is not such a line.

    >>> read_gpu("0, NVIDIA H200, 143771, 12, 37")
    Gpu(index=0, name='NVIDIA H200', memory_bytes=150754820096, memory_used_bytes=12582912, busy=0.37)
    """
    words = [word.strip() for word in line.split(",")]
    try:
        busy = int(words[4]) / 100 if words[4].isdigit() else None
        return Gpu(int(words[0]), words[1], int(words[2]) << 20, int(words[3]) << 20, busy)
    except (IndexError, ValueError):
        return None
