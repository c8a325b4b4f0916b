"""Which runs a study made to choose a setting, and by what it chose: from the `trials.jsonl` in its folder.

The study may be going on; a last line that is torn is not there yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from regimen.errors import Problem, RecordError

TRIALS = "trials.jsonl"


class Study(NamedTuple):
    """What the log of a study says about its runs."""

    folder: Path
    metric: str | None
    """By which it chose: `valid/loss`."""
    at: str | None
    """final or best."""
    is_tuning: Mapping[Path, bool]
    """By the folder of a run: True if it served to choose, False if it is a rerun of the best on a fresh seed."""


def find_studies(root: Path, runs: Iterable[Path]) -> list[Study]:
    """The studies in `root` and on the way down to `runs`. Raises `RecordError` for a damaged log."""
    above = {root} | {folder for run in runs for folder in run.parents if folder.is_relative_to(root)}
    return [_read(folder) for folder in sorted(above) if (folder / TRIALS).is_file()]


def _read(folder: Path) -> Study:
    metric = at = None
    is_tuning: dict[Path, bool] = {}
    for body in _lines(folder / TRIALS):
        if body.get("kind") == "header":
            tune = body.get("description", {}).get("tune", {})
            metric, at = tune.get("metric"), tune.get("at")
        elif body.get("kind") == "trial" and body.get("folder"):
            is_tuning[(folder / str(body["folder"])).resolve()] = body.get("purpose") == "tuning"
    return Study(folder, metric, at, is_tuning)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            body = json.loads(line)
        except ValueError:
            body = None
        if isinstance(body, dict):
            yield body
        elif number < len(lines):
            text = "is not a line of a study's log."
            raise RecordError(Problem(f"{path}:{number}", text, "The file was edited or damaged."))
