"""The process of one job: `python -m regimen.web.modelserver.working JOB.json`."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from regimen.errors import RegimenError
from regimen.records.writer import replace_file
from regimen.web.modelserver.jobs import Job

ABOUT = "regimen.json"
"""In an exported folder: which run it came from, and how."""


def work(path: Path) -> None:
    """Does the job, and writes how it went."""
    job = Job(**json.loads(path.read_bytes()))

    def tell(stage: str) -> None:
        nonlocal job
        job = replace(job, stage=stage)
        job.write(path)

    try:
        result = {"export": _export, "push": _push}[job.what](job.arguments, tell)
        ended = replace(job, status="completed", stage="", result=result)
    except RegimenError as error:
        first = error.problems[0]
        ended = replace(job, status="failed", message=f"{first.place}: {first.message}", fix=first.fix)
    except Exception as error:  # noqa: BLE001 - told to who asked
        traceback.print_exc()
        ended = replace(job, status="failed", message=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
    replace(ended, ended_at=time.time()).write(path)


def _export(arguments: Mapping[str, Any], tell: Callable[[str], None]) -> str:
    """Into `out`, from the run; what it is, is written beside the weights before the folder gets its name."""
    from regimen.finetune.results import merge

    out = Path(arguments["out"])
    beside = out.with_name(f".{out.name}")
    if arguments["about"]["kind"] == "merged":
        tell("merging")
        merge.merge(arguments["run"], beside, dtype=merge.DTYPES[arguments["precision"]])
    else:
        tell("copying")
        merge.export(arguments["run"], beside)
    replace_file(beside / ABOUT, json.dumps(arguments["about"], indent=1).encode())
    beside.rename(out)
    return out.name


def _push(arguments: Mapping[str, Any], tell: Callable[[str], None]) -> str:
    from regimen.web.modelserver.pushing import push

    return push(
        Path(arguments["folder"]),
        arguments["repo"],
        private=arguments["private"],
        message=arguments["message"],
        tell=tell,
    )


if __name__ == "__main__":
    work(Path(sys.argv[1]))
