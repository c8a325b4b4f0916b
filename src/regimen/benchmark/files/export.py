"""DeepOBS' tree as an export of a run's record: the same numbers under its names."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from regimen.benchmark.files.names import run_path
from regimen.benchmark.files.output import METRICS, Output
from regimen.benchmark.files.writing import write_output
from regimen.errors import RecordError, SpecError
from regimen.records.reader import Point, Record

_SPLITS = {"train": "train_eval", "valid": "valid", "test": "test"}
_MEASURES = {"losses": "loss", "accuracies": "accuracy"}
EXTRAS = "output.json"
"""Artifact with what a loop of one's own returned besides the six curves."""


def optimizer_label(class_name: str, hyperparams: Mapping[str, object]) -> str:
    """What an optimizer is called in results: PyTorch's SGD is three optimizers by its hyperparameters.

    >>> [optimizer_label("SGD", h) for h in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True})]
    ['SGD', 'Momentum', 'Nesterov']
    """
    if class_name.lower() != "sgd" or not hyperparams.get("momentum"):
        return "SGD" if class_name.lower() == "sgd" else class_name
    return "Nesterov" if hyperparams.get("nesterov") else "Momentum"


def export(record: Record, folder: Path, *, status: str | None = None) -> Path:
    """Writes the run into DeepOBS' tree below `folder` and returns the file; `status` is that of the run if it has not
    been written yet. Raises `RecordError` for a run without evaluations.
    """
    output = output_of(record, status=status)
    path = folder / run_path(
        output.testproblem,
        output.batch_size,
        output.num_epochs,
        output.weight_decay,
        output.random_seed,
        output.optimizer_name,
        output.hyperparams,
        output.training_params,
        began(record),
    )
    return write_output(output.to_json(), path.parent, path.stem)


def export_beside(folder: Path, status: str) -> Path | None:
    """Writes a run that ends now into `artifacts/deepobs/` of its own folder, in the place of an earlier export.

    None for a run without evaluations.
    """
    record, tree = Record(folder), folder / "artifacts" / "deepobs"
    shutil.rmtree(tree, ignore_errors=True)
    return export(record, tree, status=status) if _curves(record) else None


def began(record: Record) -> datetime:
    """When the run began, in UTC: the time in the name of its file, wherever it is exported to."""
    return datetime.fromtimestamp(float(record.state["started_at"]), UTC)


def output_of(record: Record, *, status: str | None = None) -> Output:
    """The run as DeepOBS keeps it. Curves end where a number is not finite. Raises `RecordError` if it has none."""
    settings, status = record.settings, status or record.status
    strategy, task = dict(settings["strategy"]), settings["task"]
    optimizer = dict(strategy.pop("optimizer", None) or {})
    name, given = optimizer.pop("name", ""), strategy.pop("optimizer_name", None)
    strategy.pop("name")
    metrics, cut = _finite(_curves(record))
    if not metrics:
        raise RecordError(f"{record.folder}: has no evaluation of a test problem, so there is nothing to export.")
    notes = [f"a metric is not finite after {len(next(iter(metrics.values())))} evaluations; curves end there."] * cut
    hyperparams = {key: value for key, value in optimizer.items() if key != "lr" or value is not None}
    extras = _extras(record)
    minibatch = [point.value for point in record.curves.get("train/loss", ())]
    epochs = settings["budget"]["epochs"] or 0
    return Output(
        testproblem=task["name"],
        batch_size=task["batch_size"],
        num_epochs=int(epochs) if epochs % 1 == 0 else epochs,
        random_seed=settings["seed"],
        weight_decay=_as_passed(record, "weight_decay"),
        optimizer_name=given or optimizer_label(_class_name(name), hyperparams),
        hyperparams=hyperparams,
        training_params={key: value for key, value in strategy.items() if value is not None and value != []},
        metrics=metrics,
        minibatch_train_losses=extras.pop("minibatch_train_losses", minibatch),
        status="diverged" if cut else status,
        path=str(record.folder),
        notes=tuple(notes),
        more={
            **extras,
            "run": record.id,
            "content": record.content,
            "seconds": _seconds(record),
            "message": str(record.state.get("message", "")),
        },
    )


def _curves(record: Record) -> dict[str, list[float]]:
    """The six metrics after whole epochs; a later number at a step replaces an earlier one."""
    epochs = {point.step: point.value for point in record.curves.get("train/epoch", ())}
    found: dict[str, list[float]] = {}
    for name in METRICS:
        split, _, measure = name.partition("_")
        points = record.curves.get(f"{_SPLITS[split]}/{_MEASURES[measure]}", ())
        by_step = {point.step: point.value for point in points if _is_whole(point, epochs)}
        if by_step:
            found[name] = [by_step[step] for step in sorted(by_step)]
    return found


def _is_whole(point: Point, epochs: Mapping[int, float]) -> bool:
    return math.isclose(epochs.get(point.step, 0.0), round(epochs.get(point.step, 0.0)), abs_tol=1e-9)


def _finite(curves: dict[str, list[float]]) -> tuple[dict[str, list[float]], bool]:
    """The curves up to the first evaluation with a number that is not finite, and whether there was one."""
    ends = [place for curve in curves.values() for place, value in enumerate(curve) if not math.isfinite(value)]
    return ({name: curve[: min(ends)] for name, curve in curves.items()}, True) if ends else (curves, False)


def _as_passed(record: Record, name: str) -> Any:
    """A setting of the task as the user gave it; None where the problem's own holds, as DeepOBS has it."""
    task = record.spec["passed"].get("task")
    return task.get(name) if isinstance(task, Mapping) else None


def _class_name(name: str) -> str:
    """The class of an optimizer that is named in settings; the name itself where it cannot be imported."""
    from regimen.optim import optimizer_class

    try:
        return optimizer_class(name).__name__
    except SpecError:
        return name.rpartition(":")[2]


def _extras(record: Record) -> dict[str, Any]:
    try:
        extras: dict[str, Any] = json.loads((record.folder / "artifacts" / EXTRAS).read_bytes())
    except FileNotFoundError:
        return {}
    return extras


def _seconds(record: Record) -> float | None:
    state = record.state
    if "ended_at" not in state:
        return None
    return round(float(state["ended_at"]) - float(state["started_at"]), 3)
