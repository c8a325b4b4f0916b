"""What is kept of an error that nobody thought of: a file with its traceback, for a report to us."""

from __future__ import annotations

import time
import traceback
from pathlib import Path


def write_report(home: Path, what: str, error: BaseException) -> str:
    """Writes `.regimen/errors/TIME.txt` below a server's folder; returns that name.

    `what` was going on, without anything that a request held besides its path: headers, query and body may hold
    secrets.
    """
    name = f".regimen/errors/{time.strftime('%Y-%m-%d-%H-%M-%S')}-{time.time_ns() % 10**9:09d}.txt"
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f"{what}\n\n{''.join(traceback.format_exception(error))}"
    path.write_text(text, encoding="utf-8", errors="replace")
    return name
