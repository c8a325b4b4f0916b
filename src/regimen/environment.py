"""What a run ran on: versions, hardware, git, threads. For the reader of a record, and for a resume to compare."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "regimen-ml",
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "numpy",
    "safetensors",
    "tokenizers",
    "tensorflow-cpu",
    "keras",
)


@functools.cache
def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def environment(*, threads: int | None = None, **chosen: object) -> dict[str, Any]:
    """Everything of it, as JSON, with what was chosen for the run beside it (device, processes; `threads` of each,
    None for PyTorch's own choice). Imports no torch of its own; asks it where it is loaded already.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "packages": {name: number for name in PACKAGES if (number := package_version(name))},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]] if sys.argv else [],
        "git": _git(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = threads or torch.get_num_threads()
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found | chosen


def read_environment(folder: Path) -> dict[str, Any]:
    """What a run was recorded to run on; empty for a new one."""
    try:
        found: dict[str, Any] = json.loads((folder / "environment.json").read_bytes())
    except FileNotFoundError:
        return {}
    return found


def changed_circumstances(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a resume may change and a reader of the numbers must know: it rounds differently, and nothing else.

    >>> changed_circumstances({"processes": 2, "threads": 1}, {"processes": 1, "threads": 1})
    ['on 1 process instead of 2']
    """
    found = []
    for key, words in (("processes", "on {} process"), ("device", "on the device {}"), ("threads", "with {} thread")):
        old, new = before.get(key), now.get(key)
        if old is not None and new is not None and old != new:
            plural = ("es" if key == "processes" else "s") if isinstance(new, int) and new != 1 else ""
            found.append(f"{words.format(new)}{plural} instead of {old}")
    if before.get("gpus") and now.get("gpus") and before["gpus"] != now["gpus"]:
        found.append(f"on {', '.join(now['gpus'])} instead of {', '.join(before['gpus'])}")
    return found


def _git() -> dict[str, Any] | None:
    """The commit of the current folder and whether files differ from it; None outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        changed = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "changed": bool(changed.stdout.strip())}
