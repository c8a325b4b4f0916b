"""DeepOBS' results, of any of its layouts, as runs."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import NamedTuple

from regimen.analysis.runs import Curve, Run, Value, comparable, flat
from regimen.benchmark.files import Output, Setting, read_results
from regimen.benchmark.output import METRICS
from regimen.records.index import Unreadable
from regimen.records.writer import Status

_STATUSES: dict[str, Status] = {
    "completed": "completed",
    "diverged": "diverged",
    "stopped": "stopped",
    "failed": "failed",
}


class Read(NamedTuple):
    runs: list[Run]
    notes: list[str]
    unreadable: list[Unreadable]


def read_tree(source: Path) -> Read:
    """Every run of a folder, archive or table. Raises `RecordError` where there is none."""
    results = read_results(source, strict=False)
    runs = [_run(output, setting) for setting in results.settings for output in setting.outputs]
    return Read(runs, list(results.notes), [Unreadable(Path(found.place), found.message) for found in results.problems])


def _run(output: Output, setting: Setting) -> Run:
    """The values of the setting are those of its first seed: reruns of DeepOBS rounded what its grid had in full."""
    first = setting.outputs[0]
    return Run(
        problem=output.testproblem,
        optimizer=output.optimizer_name,
        runner="",
        setting=_setting(first),
        seed=output.random_seed,
        status=_STATUSES.get(output.status, "failed"),
        curves={METRICS[name]: _curve(list(values)) for name, values in output.metrics.items() if name in METRICS},
        source=output.path,
        made=PurePath(output.path).name,
        budget=float(output.num_epochs),
    )


def _curve(values: list[float]) -> Curve:
    return Curve(tuple(float(epoch) for epoch in range(len(values))), tuple(map(float, values)))


def _setting(output: Output) -> dict[str, Value]:
    found = flat(output.hyperparams)
    found |= {f"strategy.{name}": comparable(value) for name, value in flat(output.training_params).items()}
    found |= {"task.batch_size": output.batch_size, "budget.epochs": float(output.num_epochs)}
    if output.weight_decay is not None:
        found["task.weight_decay"] = output.weight_decay
    return found
