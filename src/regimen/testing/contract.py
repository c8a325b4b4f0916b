"""The contract tests: what holds for every strategy, whoever wrote it. `regimen plugins test FILE` runs them on a file.

They train a tiny real task in a folder of their own, in seconds: the same bytes for the same seed, a stop and a resume
that end like a run that was left alone, settings that are checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from regimen.document import Document, read_document
from regimen.errors import RegimenError, Stopped
from regimen.execute import prepare, resume, run
from regimen.handle import STOP_FILE
from regimen.kinds import KINDS
from regimen.records.reader import Record, load
from regimen.registry import Plugin

Check = Callable[["Subject"], None]


_TINY: Mapping[str, Mapping[str, Any]] = {
    "finetune": {"budget": {"steps": 6}, "evaluate": {"every": 3}},
    "benchmark": {"budget": {"epochs": 2}},
    "nas": {"budget": {"steps": 6}, "evaluate": {"every": 3}},
}
"""How long, by family."""
_SMALL: Mapping[str, Mapping[str, Any]] = {
    "nas": {"search": {"name": "random", "queries": 4}, "retrain": 0.2, "batch_size": 16},
}
"""Settings of the family that would make a tiny run long."""


class Failed(AssertionError):
    """A contract that does not hold, in a sentence."""


class Subject(NamedTuple):
    """A strategy under test, with settings that it needs and have no default."""

    plugin: Plugin
    settings: Mapping[str, Any]
    folder: Path

    def document(self, output: str, **more: Any) -> dict[str, Any]:
        """A tiny real run of it."""
        family = KINDS[self.plugin.kind].family
        return {
            "task": _tiny_task(self.plugin, self.folder),
            "strategy": {
                "name": str(self.plugin.path) + ":" + self.plugin.class_name,
                **_SMALL.get(family, {}),
                **self.settings,
            },
            **_TINY[family],
            "checkpoint": {"every": 2},
            "log": {"every": 1},
            "threads": 1,
            "output": str(self.folder / output),
            **more,
        }


def has_a_name(subject: Subject) -> None:
    """It says its name, and a sentence about itself."""
    if not subject.plugin.name or subject.plugin.name != subject.plugin.name.strip():
        raise Failed("has no name: set the class attribute `name`, or return a constant from get_strategy_name.")
    if not subject.plugin.summary:
        raise Failed("has no docstring: its first line is what lists and help show.")


def describes_its_settings(subject: Subject) -> None:
    """Each setting that the class declares itself has a description."""
    cls = subject.plugin.load()
    model = subject.plugin.settings()
    bare = [
        name
        for name in vars(cls).get("__annotations__", {})
        if name in model.model_fields and not model.model_fields[name].description
    ]
    if bare:
        raise Failed(f"describes no {', '.join(bare)}: write Annotated[..., Field(description=...)].")


def refuses_unknown_settings(subject: Subject) -> None:
    """A misspelled setting is an error that names it."""
    document = subject.document("unknown")
    document["strategy"]["no_such_setting"] = 1
    try:
        prepare(document)
    except RegimenError as error:
        if "no_such_setting" in str(error):
            return
        raise Failed(f"answers an unknown setting with: {error}") from error
    raise Failed("accepts a setting that it does not have.")


def trains(subject: Subject) -> None:
    """It trains the tiny task, records a finite loss, and changes weights."""
    record = run(subject.document("trains"))
    losses = [point.value for key, points in record.curves.items() if key.endswith("/loss") for point in points]
    if record.status != "completed" or not losses or any(loss != loss for loss in losses):
        raise Failed(f"ended {record.status} with losses {losses[:5]}.")


def repeats_itself(subject: Subject) -> None:
    """The same spec and seed give the same numbers and the same weights."""
    first, second = (run(subject.document(name)) for name in ("first", "second"))
    _same(first, second, "a second run with the same seed")


def resumes_exactly(subject: Subject) -> None:
    """Stopped in the middle and resumed, it ends like a run that was left alone."""
    whole = run(subject.document("whole"))
    stopped = Path(subject.document("stopped")["output"])

    def stop_at_three(event: Any) -> None:
        if getattr(event, "step", 0) >= 3:
            (folder_of(stopped) / STOP_FILE).touch()

    try:
        record = run(subject.document("stopped"), listeners=[stop_at_three])
    except Stopped:
        record = resume(folder_of(stopped))
    _same(whole, record, "a run that was stopped and resumed")


def _same(one: Record, other: Record, what: str) -> None:
    if one.identity != other.identity:
        pairs = zip(one.identity, other.identity, strict=False)
        first = next(((a, b) for a, b in pairs if a != b), (len(one.identity), len(other.identity)))
        raise Failed(f"{what} records other numbers: {first[0]} against {first[1]}.")
    from regimen.checkpoint import Checkpoints, tensors_of

    states = [Checkpoints(record.folder).newest() for record in (one, other)]
    if states[0] is None or states[1] is None:
        return  # it keeps no checkpoints; the numbers are what there is to compare
    for a, b in zip(tensors_of(states[0].state["state"]), tensors_of(states[1].state["state"]), strict=True):
        if a.shape != b.shape or a.numpy(force=True).tobytes() != b.numpy(force=True).tobytes():
            raise Failed(f"{what} ends with other weights or other optimizer states.")


def folder_of(output: Path) -> Path:
    """The one run below a folder."""
    (spec,) = output.rglob("spec.yaml")
    return spec.parent


def _tiny_task(plugin: Plugin, folder: Path) -> dict[str, Any]:
    """What to train, by family."""
    if KINDS[plugin.kind].family == "benchmark":
        return {"name": "quadratic_deep"}
    if KINDS[plugin.kind].family == "nas":
        return {"name": "digits", "supernet": {"space": {"name": "chain", "widths": [4, 6], "stride_at": [1]}}}
    rows = folder / "rows.jsonl"
    if not rows.exists():
        rows.write_text("".join(_row(number) for number in range(24)))
    columns = {"train": str(rows), "eval_split": 0.25}
    return {"name": "text", "model": "tiny", "data": columns, "samples": 0}


def _row(number: int) -> str:
    import json

    body = {
        "input": f"How much is {number} + 1?",
        "output": str(number + 1),
        "task_type": "sum" if number % 2 else "next",
    }
    return json.dumps(body | {"prompt": body["input"], "chosen": body["output"], "rejected": str(number)}) + "\n"


CHECKS: tuple[Check, ...] = (
    has_a_name,
    describes_its_settings,
    refuses_unknown_settings,
    trains,
    repeats_itself,
    resumes_exactly,
)


def verdicts(
    plugin: Plugin, settings: Mapping[str, Any] | None = None
) -> Iterator[tuple[Check, Failed | RegimenError | None]]:
    """Runs every check on one strategy, each in a fresh folder; yields the check and what it found wrong."""
    for check in CHECKS:
        with _folder() as folder:
            try:
                check(Subject(plugin, settings or {}, folder))
            except (Failed, RegimenError) as error:
                yield check, error
            else:
                yield check, None


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="regimen-contract-") as name:
        yield Path(name)


__all__ = ["CHECKS", "Check", "Document", "Failed", "Subject", "folder_of", "load", "read_document", "verdicts"]
