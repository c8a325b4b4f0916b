"""What a study asks of a process with PyTorch: to check descriptions, to see that a run has ended, to time one.

The study itself imports no PyTorch; `warm` calls these functions in a process of their own for each request. Requests
and answers are JSON.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from regimen.choices import CheckedSpec
from regimen.document import Document, check
from regimen.errors import DiskFull, RecordError, RegimenError, ResumeRefused, SpecError, Stopped
from regimen.events import Metrics
from regimen.execute import Prepared, prepare, resume, run
from regimen.identity import content_hash, run_folder
from regimen.optim import Schedule
from regimen.published import usual_places
from regimen.records.reader import Record, load
from regimen.records.writer import is_locked
from regimen.registry import find
from regimen.study.replicas import run_together
from regimen.walking import files_below

Answer = dict[str, Any]
_LOADED_ONCE = ("regimen", "torch", "transformers", "tokenizers", "peft", "datasets", "scipy")
ENDED = ("completed", "diverged")
"""Runs that are not done again."""
_NO_RESULT = (DiskFull, Stopped, RecordError, ResumeRefused)
"""Ends that say nothing about the setting."""


def answer(request: Mapping[str, Any]) -> Answer:
    """Does what is asked; an error of ours is an answer, too."""
    try:
        return _REQUESTS[request["do"]](request)
    except RegimenError as error:
        return _told(error)


def _told(error: RegimenError) -> Answer:
    problems = [list(problem) for problem in error.problems]
    return {"error": {"kind": type(error).__name__, "problems": problems, "exit_code": error.exit_code}}


# ------------------------------------------------------------------------------------------------ checking


def _check(request: Mapping[str, Any]) -> Answer:
    """Checks a task's description with its first setting, and every end of the space."""
    base, dimensions = _fitting(request), request["space"]
    problems = [problem for words in dimensions for problem in _complaints(base, words)]
    first = [words[0] for words in dimensions]
    try:
        prepared = prepare(Document(base, request["source"], _lines(request)), first)
    except SpecError as error:
        elsewhere = [list(problem) for problem in error.problems if not problem.place.startswith("--set ")]
        if problems:
            return {"space": problems, "elsewhere": elsewhere}
        raise
    if problems:
        return {"space": problems, "elsewhere": []}
    budget = prepared.spec.budget.limits()
    return {
        "base": base,
        "strategy": prepared.spec.strategy.name,
        "epochs": budget["epochs"] if budget.keys() == {"epochs"} else None,
        "budget": budget,
        "whole_epochs": prepared.strategy.resume != "exact",
        "errors": [list(problem) for problem in prepared.errors],
        "notes": [str(finding) for finding in prepared.findings if finding.level == "warning"],
        "restarts": _why_restarted(prepared, request["paths"]),
        "modules": _modules(),
    }


def _fitting(request: Mapping[str, Any]) -> dict[str, Any]:
    """The base; of what is written beside a set of problems, each gets what it has a setting for."""
    base: dict[str, Any] = request["base"]
    if request["of_set"]:
        known = find(base["task"]["name"], ("task",)).settings().model_fields
        return {**base, "task": {key: value for key, value in base["task"].items() if key in known}}
    return base


def _complaints(base: Mapping[str, Any], words: list[str]) -> list[list[str]]:
    """What is wrong with the values of one tuned path, each once."""
    found: dict[tuple[str, str, str], None] = {}
    for word in words:
        path = word.partition("=")[0]
        try:
            check(Document(dict(base)).with_overrides([word]), CheckedSpec, usual_places())
        except SpecError as error:
            for problem in error.problems:
                if problem.place.startswith(f"--set {path}") or problem.place.startswith(path):
                    found[path, problem.message, problem.fix] = None
    return [list(problem) for problem in found]


def _lines(request: Mapping[str, Any]) -> dict[tuple[str | int, ...], int]:
    return {tuple(keys): line for keys, line in request["lines"]}


def _why_restarted(prepared: Prepared, paths: list[str]) -> str:
    """Why a run of fewer epochs is not the beginning of a longer one; empty if it is."""
    strategy = prepared.strategy
    if strategy.resume != "exact":
        return f"{strategy.name} keeps no checkpoint to go on from"
    if prepared.spec.strategy.plugin.origin != "built in":
        return f"{strategy.name} is not built in, and may look at its budget"
    schedule = getattr(strategy, "schedule", None)
    bent = isinstance(schedule, Schedule) and (schedule.name != "constant" or 0 < schedule.warmup < 1)
    if bent or any(path.startswith("strategy.schedule") for path in paths):
        return "the learning rate follows the budget (strategy.schedule)"
    return ""


def _modules() -> list[str]:
    """What is loaded by now, of ours and of what is slow to load: the process that forks one for each run can load it
    once for all.
    """
    return sorted(name for name in sys.modules if name.partition(".")[0] in _LOADED_ONCE)


# ------------------------------------------------------------------------------------------------ running


def _settle(request: Mapping[str, Any]) -> Answer:
    """Sees that the run of a description has ended: finds it or, if it may `train`, goes on with it or does it."""
    began = time.monotonic()
    prepared = prepare(request["description"])
    content = content_of(prepared)
    index: Mapping[str, str] = {**request["index"], **request["known"]}
    known, shorter = index.get(content), request["goes_on_from"]
    _wait_for(known or shorter)
    record = load(known) if known else None
    found = record is not None and record.status in ENDED
    if not found and not request["train"]:
        return {"absent": True}
    if record is None or record.status not in (*ENDED, "stopped", "lost"):
        goes_on = shorter is not None and _is_beginning(Path(shorter), request)
        record = _prolonged(Path(shorter), prepared) if goes_on else _trained(prepared, content)
    elif not found:  # it may have been killed while it was prolonged: another budget in its checkpoint is no difference
        record = _prolonged(record.folder, prepared)
    state = record.state
    return {
        "folder": str(record.folder),
        "content": content,
        "found": found,
        "seconds": state.get("ended_at", 0.0) - state.get("started_at", 0.0) if found else time.monotonic() - began,
        "modules": _modules(),
    }


def _settle_together(request: Mapping[str, Any]) -> Answer:
    """The same for several runs; those that are not there yet are trained at once where that pays."""
    began = time.monotonic()
    requests = [{**each, "do": "settle", "index": request["index"]} for each in request["requests"]]
    fresh: dict[int, Prepared] = {}
    answers: dict[int, Answer] = {}
    for place, each in enumerate(requests):
        try:
            prepared = prepare(each["description"])
        except RegimenError as wrong:
            answers[place] = _told(wrong)
            continue
        if content_of(prepared) in {**each["index"], **each["known"]}:
            answers[place] = answer(each)
        else:
            fresh[place] = prepared
    found = run_together(list(fresh.values()), most=request["most"])
    seconds = (time.monotonic() - began) / len(requests)
    for index, (place, prepared) in enumerate(fresh.items()):
        outcome = found.get(index)
        if outcome is None:
            answers[place] = _told(Stopped("had not begun when the study was asked to stop."))
        elif isinstance(outcome.error, _NO_RESULT):
            answers[place] = _told(outcome.error)
        else:
            folder, content = str(outcome.record.folder), content_of(prepared)
            answers[place] = {"folder": folder, "content": content, "found": False, "seconds": seconds}
    return {"answers": [answers[place] for place in range(len(requests))], "modules": _modules()}


def _wait_for(folder: str | None) -> None:
    """For a run that is being trained: on a cluster, or by what is left of a study that was killed."""
    while folder and is_locked(Path(folder)):
        time.sleep(0.2)


def content_of(prepared: Prepared) -> str:
    """The content hash that a run of this description gets."""
    identity = prepared.identity
    return content_hash(prepared.spec.model_dump(mode="json"), identity["data"], identity["code"])


def _is_beginning(folder: Path, request: Mapping[str, Any]) -> bool:
    """Whether a shorter run is what would be computed now for fewer epochs: same settings, data and code."""
    shorter = prepare(request["description"], [f"budget.epochs={request['epochs_before']!r}"])
    record = load(folder)
    return record.status == "completed" and record.content == content_of(shorter) and bool(record.checkpoints)


def _prolonged(folder: Path, prepared: Prepared) -> Record:
    """Goes on with a run up to the budget of this description."""
    words = [f"budget.{unit}={limit!r}" for unit, limit in prepared.spec.budget.limits().items()]
    return _ended(lambda: resume(folder, words, allow_changes=True), lambda: folder)


def _trained(prepared: Prepared, content: str) -> Record:
    above = run_folder(prepared.spec).parent

    def folder() -> Path | None:
        made = sorted(above.glob("*/spec.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
        return next((path.parent for path in made if load(path.parent).content == content), None)

    return _ended(lambda: run(prepared.document), folder)


def _ended(train: Callable[[], Record], folder: Callable[[], Path | None]) -> Record:
    """The record, also of a run that went wrong by itself: that is what the study wants to know."""
    try:
        return train()
    except _NO_RESULT:
        raise
    except RegimenError:
        left = folder()
        if left is None:
            raise
        return load(left)


# ------------------------------------------------------------------------------------------------ timing


def _measure(request: Mapping[str, Any]) -> Answer:
    """Trains for a few seconds and throws it away. Seconds until the first step, and of one unit of the budget."""
    unit = request["unit"]
    with tempfile.TemporaryDirectory() as folder:
        description = {**request["description"], "output": folder}
        limit = {"epochs": 1} if request["whole_epochs"] else {unit: request["limit"], "seconds": request["seconds"]}
        record = _ended(lambda: run({**description, "budget": limit}), lambda: next(iter(_runs(folder)), None))
        return {"startup_s": _startup(record), "unit_s": _seconds_of_one(record, unit)}


def _runs(folder: str) -> list[Path]:
    return [path.parent for path in files_below(Path(folder), "spec.yaml")]


def _startup(record: Record) -> float:
    first = next((event.at for event in record.events if isinstance(event, Metrics)), record.state["started_at"])
    return float(first - record.state["started_at"])


def _seconds_of_one(record: Record, unit: str) -> float | None:
    """From the first evaluation to the last; of an epoch that was cut short, its evaluation is not cut short."""
    lines = [event for event in record.events if isinstance(event, Metrics)]
    evaluated = [event for event in lines if any(key.startswith("valid/") for key in event.values)]
    if len(evaluated) < 2:
        return None
    spent = evaluated[-1].step if unit == "steps" else record.curves["train/epoch"][-1].value
    took = evaluated[-1].at - evaluated[0].at
    if unit == "epochs" and spent < 1:
        trained = max(event.at for event in lines if "train/loss" in event.values) - evaluated[0].at
        return trained / spent + took - trained
    return took / spent


_REQUESTS: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
    "check": _check,
    "settle": _settle,
    "settle together": _settle_together,
    "measure": _measure,
}
