"""The runs below a folder that wait for a process: what the queue's rows can be made from again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from regimen.records.index import run_folders
from regimen.records.writer import FINAL, Status, is_locked


class Unfinished(NamedTuple):
    """A run that was put into a queue and has neither an end nor a process."""

    queued_at: float
    """Seconds since 1970, UTC."""
    id: str
    folder: Path
    device: str
    """What it needs to itself."""
    status: Status
    """Queued; or running, and interrupted."""


def unfinished(runs: Path) -> list[Unfinished]:
    """In the order in which they were queued. A folder that cannot be read is left to the list of runs."""
    found = []
    for folder in run_folders(runs):
        try:
            state = json.loads((folder / "status.json").read_bytes())
            if state.get("queued") and state["status"] not in FINAL and not is_locked(folder):
                found.append(
                    Unfinished(state.get("queued_at", 0.0), state["id"], folder, state["queued"], state["status"])
                )
        except (OSError, ValueError, KeyError, AttributeError):
            continue
    return sorted(found)
