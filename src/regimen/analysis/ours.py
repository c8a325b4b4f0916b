"""Reads run folders of ours: the settings, the status, and the lines of `events.jsonl` that hold an evaluation.

Lines of single steps are passed over undecoded, so that a thousand runs take seconds. A run that was resumed is read
line by line, because a resume takes lines back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from regimen.analysis.runs import Curve, Run, Value, comparable, flat, folder_of
from regimen.analysis.studies import Study, find_studies
from regimen.errors import Problem, RecordError
from regimen.events import Metrics, decode
from regimen.records.index import Unreadable, run_folders
from regimen.records.reader import Record

_MEASURED = ("train_eval/", "valid/", "test/")
"""Splits that are evaluated as a whole."""
_MARKS = tuple(f'"{split}'.encode() for split in _MEASURED)
_TIME = b'"time/elapsed_s"'
_WITHOUT_EFFECT = ("task.name", "task.data_dir", "strategy.name", "strategy.optimizer.name", "strategy.optimizer_name")
"""No part of a setting: names that the run carries itself, and where the data lie."""


class Read(NamedTuple):
    runs: list[Run]
    unreadable: list[Unreadable]
    studies: list[Study]
    """To which some of the runs belong."""


def read_records(root: Path) -> Read:
    """Every run below `root`, in the order of their folders. Raises `RecordError` for a study that cannot be read."""
    folders = sorted(run_folders(root))
    read = Read([], [], find_studies(root, folders))
    is_tuning = {folder: tuning for study in read.studies for folder, tuning in study.is_tuning.items()}
    for folder in folders:
        try:
            read.runs.append(replace(read_record(folder), is_tuning=is_tuning.get(folder.resolve())))
        except RecordError as error:
            read.unreadable.append(Unreadable(folder, error.problems[0].message))
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            read.unreadable.append(Unreadable(folder, f"is not as a run writes it ({error!r})."))
    return read


def read_record(folder: Path) -> Run:
    """One run. Raises `RecordError` as a record does."""
    record = Record(folder)
    settings = record.settings
    task, strategy = settings["task"], settings["strategy"]
    optimizer = strategy.get("optimizer") or {}
    return Run(
        problem=str(task["name"]),
        optimizer=str(strategy.get("optimizer_name") or _name(optimizer) or strategy["name"]),
        runner=str(strategy["name"]),
        setting=_setting(settings),
        seed=int(settings["seed"]),
        status=record.status,
        curves=_curves(record),
        source=folder_of(folder),
        made=record.id,
        budget=settings.get("budget", {}).get("epochs"),
    )


def _name(optimizer: Mapping[str, Any]) -> str | None:
    """SGD, Momentum and Nesterov are one class, and three optimizers to whom compares them."""
    name = optimizer.get("name")
    if str(name).lower() != "sgd" or not optimizer.get("momentum"):
        return name
    return "nesterov" if optimizer.get("nesterov") else "momentum"


def _setting(settings: Mapping[str, Any]) -> dict[str, Value]:
    """The optimizer's hyperparameters by name; of the rest what can change a result."""
    parts = {name: settings.get(name) or {} for name in ("task", "strategy", "budget")}
    found: dict[str, Value] = {
        key: value for key, value in flat(parts).items() if key not in _WITHOUT_EFFECT and value is not None
    }
    found |= {"precision": comparable(settings.get("precision"))}
    return {key.removeprefix("strategy.optimizer."): value for key, value in found.items()}


class _Evaluation(NamedTuple):
    step: int
    epoch: float | None
    seconds: float | None
    values: Mapping[str, float]


def _curves(record: Record) -> dict[str, Curve]:
    path = record.folder / "events.jsonl"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    if b'"kind": "resumed"' in data:
        events = (event for event in record.events if isinstance(event, Metrics))
        return _as_curves(_evaluations((event, _is_evaluation(event)) for event in events))
    return _as_curves(_evaluations(_decoded(data, path)))


def _is_evaluation(event: Metrics) -> bool:
    return any(key.startswith(_MEASURED) for key in event.values)


def _decoded(data: bytes, path: Path) -> Iterator[tuple[Metrics, bool]]:
    """The lines with an evaluation, and those that tell the time: the first, and the last before an evaluation. True
    for evaluations.
    """
    first = data.find(_TIME)
    if first >= 0:
        yield from _event(data, _start(data, first), path, False)
    for start in sorted({start for mark in _MARKS for start in _lines_with(data, mark)}):
        timing = data.rfind(_TIME, 0, start)
        if timing >= 0:
            yield from _event(data, _start(data, timing), path, False)
        yield from _event(data, start, path, True)


def _lines_with(data: bytes, mark: bytes) -> Iterator[int]:
    """Where each line begins that holds `mark`; a search in the bytes skips what is between them."""
    found = data.find(mark)
    while found >= 0:
        yield _start(data, found)
        end = data.find(b"\n", found)
        found = data.find(mark, end) if end >= 0 else -1


def _start(data: bytes, within: int) -> int:
    return data.rfind(b"\n", 0, within) + 1


def _event(data: bytes, start: int, path: Path, evaluation: bool) -> Iterator[tuple[Metrics, bool]]:
    end = data.find(b"\n", start)
    if end < 0:
        return  # torn by a kill, or still being written
    try:
        event = decode(data[start:end])
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        line = data.count(b"\n", 0, start) + 1
        raise RecordError(Problem(f"{path}:{line}", "is not an event.", "The file was edited or damaged.")) from error
    if isinstance(event, Metrics):
        yield event, evaluation


def _evaluations(events: Iterable[tuple[Metrics, bool]]) -> Iterator[_Evaluation]:
    """Evaluations with their epochs and seconds. Where they lack them, the last line before that tells them does, or
    the first one: training logs every few steps, and the lines tell when they were written.
    """
    found = list(events)
    told = next((event for event, evaluation in found if not evaluation and "time/elapsed_s" in event.values), None)
    for event, evaluation in found:
        if not evaluation:
            told = event if "time/elapsed_s" in event.values else told
            continue
        values = {key: value for key, value in event.values.items() if key.startswith(_MEASURED)}
        yield _Evaluation(event.step, _epoch(event, told), _seconds(event, told), values)


def _epoch(event: Metrics, told: Metrics | None) -> float | None:
    if event.step == 0:
        return 0.0
    if "train/epoch" in event.values or told is None or "train/epoch" not in told.values or not told.step:
        return event.values.get("train/epoch")
    return round(told.values["train/epoch"] * event.step / told.step, 6)


def _seconds(event: Metrics, told: Metrics | None) -> float | None:
    if event.step == 0:
        return 0.0
    if "time/elapsed_s" in event.values or told is None:
        return event.values.get("time/elapsed_s")
    return max(0.0, told.values["time/elapsed_s"] + event.at - told.at)


def _as_curves(evaluations: Iterable[_Evaluation]) -> dict[str, Curve]:
    by_step: dict[int, _Evaluation] = {}
    for found in evaluations:
        earlier = by_step.get(found.step)
        values = {**(earlier.values if earlier else {}), **found.values}
        by_step[found.step] = found._replace(values=values)
    ordered = [by_step[step] for step in sorted(by_step)]
    timed = all(each.seconds is not None for each in ordered)
    counted = all(each.epoch is not None for each in ordered)
    curves: dict[str, Curve] = {}
    for key in dict.fromkeys(key for each in ordered for key in each.values):
        having = [(place, each) for place, each in enumerate(ordered) if key in each.values]
        epochs = tuple(each.epoch if counted and each.epoch is not None else float(place) for place, each in having)
        seconds = tuple(each.seconds for _, each in having if timed and each.seconds is not None)
        curves[key] = Curve(epochs, tuple(each.values[key] for _, each in having), seconds)
    return curves
