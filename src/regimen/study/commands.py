"""The runs of a study as commands, one a line, for a cluster that has a scheduler of its own.

They write below the study's folder, and `regimen tune` finds them there by their content, as if it had run them. What
the runs of one phase decide is the next phase's commands: written by the same call, once they have ended.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from regimen.records.writer import replace_file
from regimen.study.course import Course
from regimen.study.description import described, read_tune
from regimen.study.trial import Wanted
from regimen.study.tuning import Say, opened
from regimen.study.warmprocess import WarmProcess


def write_commands(
    source: str | Path | Mapping[str, Any],
    out: Path,
    overrides: Iterable[str] = (),
    *,
    say: Say = lambda text: None,
    warm: WarmProcess | None = None,
) -> str:
    """Writes the commands of the next phase to `out`, and returns a sentence about it.

    Finished runs are taken into the log first. The commands are to be run in the current folder.
    """
    with opened(read_tune(source, overrides), say, warm) as study:
        study.log.begin()
        study.finish(train=False)
        wanted = study.wanted()
        for course in study.courses:
            text = yaml.safe_dump(dict(course.base), sort_keys=False, allow_unicode=True)
            replace_file(_file(course), text.encode())
        replace_file(out, "".join(f"{command(course, run)}\n" for course, run in wanted).encode())
    if not wanted:
        return f"nothing is left to run: `regimen tune` writes the report. {out} is empty."
    return (
        f"wrote {len(wanted)} commands to {out}. Run them in this folder, then the same command again for the next "
        "phase, or `regimen tune` to go on here."
    )


def command(course: Course, run: Wanted) -> str:
    """The command of one run, quoted for a shell."""
    words = described(course.base, run.setting, run.place.seed, run.epochs)[1]
    if run.goes_on_from:
        longer = run.epochs if run.epochs is not None else course.epochs
        return shlex.join(
            ["regimen", "resume", run.goes_on_from, "--set", f"budget.epochs={longer!r}", "--allow-changes", "--quiet"]
        )
    settings = [part for word in words for part in ("--set", word)]
    return shlex.join(["regimen", "run", str(_file(course)), *settings, "--quiet"])


def _file(course: Course) -> Path:
    return course.folder / f"{course.task}.yaml"
