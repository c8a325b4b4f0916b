"""What this machine has, and what each missing part would be for."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from regimen.environment import environment, package_version

PARTS = {
    "torch": ("training", "pip install 'regimen-ml[llm]'"),
    "transformers": ("language models", "pip install 'regimen-ml[llm]'"),
    "peft": ("LoRA and its relatives", "pip install 'regimen-ml[llm]'"),
    "bitsandbytes": ("4-bit and 8-bit bases", "pip install 'regimen-ml[llm]'"),
    "trl": ("trainers of TRL", "pip install 'regimen-ml[llm]'"),
    "rouge-score": ("the metric rouge", "pip install 'regimen-ml[eval]'"),
}


def examine() -> dict[str, Any]:
    """Everything as JSON."""
    if importlib.util.find_spec("torch"):
        import torch  # noqa: F401 - so that `environment` can ask it for GPUs and threads
    found = environment()
    disk = shutil.disk_usage(Path.cwd())
    found["disk_free_gb"] = round(disk.free / 1e9, 1)
    found["writable"] = os.access(Path.cwd(), os.W_OK)
    found["parts"] = {
        name: {"version": package_version(name), "for": what, "install": how} for name, (what, how) in PARTS.items()
    }
    return found


def render(found: dict[str, Any]) -> str:
    """The same for people."""
    gpus = ", ".join(found.get("gpus") or []) or "none; training runs on the CPU"
    lines = [
        f"python {found['python']} on {found['platform']}",
        f"{found['cores']} cores, {found['memory_gb']} GB memory, {found['disk_free_gb']} GB free here, GPUs: {gpus}",
    ]
    if not found["writable"]:
        lines.append("this folder cannot be written: a run needs a folder for its record")
    for name, part in found["parts"].items():
        said = part["version"] or f"missing  {part['for']}: {part['install']}"
        lines.append(f"  {name:<14} {said}")
    return "\n".join(lines)
