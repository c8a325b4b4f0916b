"""A run's JSON in any layout that DeepOBS has had, as one thing.

1.1      optimizer, learning_rate, hyperparams, lr_sched_epochs, lr_sched_factors; no valid metrics
1.2      optimizer_name, optimizer_hyperparams, training_params, weight_decay
l2_reg   as 1.2, with l2_reg in the place of weight_decay
regimen  as 1.2, with schema and status

Runs that diverged: 1.1 wrote NaN and Infinity, which strict JSON has not; 1.2 filled the epochs after the divergence
with the numbers of the untrained model. Such filling is taken out, and noted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from regimen.benchmark.files.output import SCHEMA, Later, Layout, Output
from regimen.errors import Problem, RecordError

_MINIBATCH = re.compile(rb'"minibatch_train_losses"\s*:\s*\[')
_META: Mapping[str, tuple[type, ...]] = {
    "testproblem": (str,),
    "batch_size": (int,),
    "num_epochs": (int, float),
    "random_seed": (int,),
}
_FIX = "Give results of DeepOBS or of this package: JSON files named random_seed__<seed>__<time>.json."


def parsed(text: bytes, path: str, again: Callable[[], bytes] | None = None) -> Output:
    """A run from the bytes of its file. `again` reads them anew, for the minibatch losses that are left for later.

    Raises `RecordError` that names the file and what it lacks.
    """
    text, minibatch = _without_minibatch(text, again)
    try:
        body = json.loads(text)
    except ValueError as error:
        what = "is empty" if not text.strip() else f"cannot be parsed as JSON: {error}"
        raise RecordError(Problem(path, f"{what}.", _FIX)) from error
    return from_body(body, path, minibatch)


def from_body(body: object, path: str, minibatch: Sequence[float] | None = None) -> Output:
    """A run from its parsed JSON. Raises `RecordError`."""
    if not isinstance(body, dict):
        raise RecordError(Problem(path, f"holds {type(body).__name__}, not a run.", _FIX))
    layout = _layout(body)
    wrong = list(_wrong(body, layout))
    if wrong:
        raise RecordError(Problem(path, f"is no run of DeepOBS: it {' and '.join(wrong)}.", _FIX))
    if minibatch is None:
        minibatch = body.get("minibatch_train_losses") or ()
    metrics = {name: curve for name, curve in body.items() if _is_metric(name)}
    hyperparams, training_params, rest = _settings(body, layout)
    output = Output(
        testproblem=body["testproblem"],
        batch_size=body["batch_size"],
        num_epochs=body["num_epochs"],
        random_seed=body["random_seed"],
        weight_decay=body.get("l2_reg" if layout == "l2_reg" else "weight_decay"),
        optimizer_name=body["optimizer" if layout == "1.1" else "optimizer_name"],
        hyperparams=hyperparams,
        training_params={name: value for name, value in training_params.items() if value is not None},
        metrics=metrics,
        minibatch_train_losses=minibatch,
        status=str(body.get("status", "completed")),
        path=path,
        layout=layout,
        notes=tuple(map(str, body.get("notes", ()))),
        more=rest,
    )
    return output if layout == "regimen" else _judged(output)


def _without_minibatch(text: bytes, again: Callable[[], bytes] | None) -> tuple[bytes, Sequence[float] | None]:
    """The text without the one list that makes up nearly all of it, and that list for later.

    In the published files it is 99 % of a megabyte, and hardly anybody looks at it.
    """
    found = _MINIBATCH.search(text)
    end = text.find(b"]", found.end()) if found else -1
    if found is None or end < 0:
        return text, None
    start = found.end() - 1
    if again is None:
        kept = text[start : end + 1]
        later = Later(lambda: kept)
    else:
        later = Later(lambda: again()[start : end + 1])
    return text[: start + 1] + text[end:], later


def _layout(body: Mapping[str, Any]) -> Layout:
    if "schema" in body:
        return "regimen"
    if "l2_reg" in body:
        return "l2_reg"
    return "1.1" if "optimizer" in body and "optimizer_name" not in body else "1.2"


def _is_metric(name: str) -> bool:
    return name.endswith(("_losses", "_accuracies")) and name != "minibatch_train_losses"


def _wrong(body: Mapping[str, Any], layout: Layout) -> list[str]:
    """What a body lacks or has wrong, each as the end of a sentence that begins with `it`."""
    if "schema" in body and body["schema"] != SCHEMA:
        return [f"has the schema {body['schema']!r}, and this version reads {SCHEMA!r}"]
    needed = [*_META, *(("optimizer", "learning_rate") if layout == "1.1" else ("optimizer_name",))]
    groups = ("hyperparams",) if layout == "1.1" else ("optimizer_hyperparams", "training_params")
    lacking = [name for name in needed if name not in body]
    metrics = {name: curve for name, curve in body.items() if _is_metric(name)}
    found = [f"lacks {', '.join(lacking)}"] if lacking else []
    if not metrics:
        found.append("has no metrics (train_losses, test_losses, ...)")
    for name, kind in _META.items():
        if name in body and (not isinstance(body[name], kind) or isinstance(body[name], bool)):
            found.append(f"has {body[name]!r} for {name}")
    found += [f"has no group of settings for {name}" for name in groups if not isinstance(body.get(name, {}), dict)]
    for name, curve in metrics.items():
        if not isinstance(curve, list) or not all(type(value) in (float, int) for value in curve):
            found.append(f"has something else than a list of numbers for {name}")
    return found


def _settings(body: Mapping[str, Any], layout: Layout) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Hyperparameters, training parameters, and the keys that are neither."""
    if layout == "1.1":
        schedule = {name: body.get(name) for name in ("lr_sched_epochs", "lr_sched_factors")}
        hyperparams = {**(body.get("hyperparams") or {}), "lr": body["learning_rate"]}
        taken = {"optimizer", "learning_rate", "hyperparams", *schedule}
    else:
        hyperparams, schedule = body.get("optimizer_hyperparams") or {}, body.get("training_params") or {}
        taken = {"optimizer_name", "optimizer_hyperparams", "training_params", "l2_reg"}
    taken |= {*_META, "weight_decay", "minibatch_train_losses", "schema", "status", "notes", "path"}
    return hyperparams, schedule, {k: v for k, v in body.items() if k not in taken and not _is_metric(k)}


# ------------------------------------------------------------------------------------------ what DeepOBS did not say


def _judged(output: Output) -> Output:
    """How a run of DeepOBS ended, which its file does not say."""
    filled = _filled(output)
    if filled:
        real = {name: curve[:-filled] for name, curve in output.metrics.items()}
        note = (
            f"diverged in epoch {len(next(iter(real.values())))}; DeepOBS had filled the {filled} epochs from there on."
        )
        output = replace(output, metrics=real, status="diverged", notes=(*output.notes, note))
    losses = [curve for name, curve in output.metrics.items() if name.endswith("_losses") and curve]
    if any(not math.isfinite(curve[-1]) for curve in losses):
        return replace(output, status="diverged")
    if output.status == "completed" and output.epochs_done < output.num_epochs:
        return replace(output, status="stopped")
    return output


def _filled(output: Output) -> int:
    """How many entries at the end of the curves are copies of entry 0, put there by DeepOBS 1.2.

    It fills every curve and the minibatch losses with as many copies of their first numbers. That all curves return to
    their first numbers by themselves does not happen; a model that learned nothing at all is told by its minibatches.
    """
    curves = [curve for curve in output.metrics.values() if curve]
    length = min(map(len, curves), default=0)
    if output.layout == "1.1" or length < 2 or any(curve[-1] != curve[0] for curve in curves):
        return 0
    count = 1
    while count < length - 1 and all(curve[-1 - count] == curve[0] for curve in curves):
        count += 1
    batches = list(output.minibatch_train_losses)
    if batches:
        trained, copied = batches[:-count], batches[-count:]
        return count if all(value == batches[0] for value in copied) and len(set(trained)) > 1 else 0
    return count if count < length - 1 else 0
