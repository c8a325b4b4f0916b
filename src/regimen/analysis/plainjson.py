"""An analysis as JSON: every number with its count, spread and origin; numbers that JSON lacks are null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from regimen.analysis.choice import SettingNumbers
from regimen.analysis.summary import OptimizerResult, ProblemResult, Summary

SCHEMA_VERSION = 1


def as_json(summary: Summary) -> str:
    """One object: `problems`, `differences`, `cautions`, `notes`, `unreadable`."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "source": summary.source,
        "num_runs": summary.num_runs,
        "rule": summary.rule,
        "keep_tuning_seeds": summary.question.keep_tuning_seeds,
        "problems": [_problem(problem) for problem in summary.problems],
        "differences": [found._asdict() for found in summary.differences],
        "cautions": [caution._asdict() for caution in summary.cautions],
        "notes": summary.notes,
        "unreadable": [{"place": place, "why": why} for place, why in summary.unreadable],
    }
    return json.dumps(_finite(body), indent=1, ensure_ascii=False, allow_nan=False)


def _problem(problem: ProblemResult) -> dict[str, object]:
    return {
        "problem": problem.problem,
        **problem.measure._asdict(),
        "target": problem.target,
        "is_own_target": problem.is_own_target,
        "optimizers": [_optimizer(result) for result in problem.results],
    }


def _optimizer(result: OptimizerResult) -> dict[str, object]:
    choice, time, found = result.choice, result.time, result.sensitivity
    return {
        "optimizer": result.optimizer,
        "num_runs": result.num_runs,
        "num_diverged": result.num_diverged,
        "best": _setting(choice.best),
        "numbers": choice.numbers._asdict(),
        "seeds": [run.seed for run in choice.runs],
        "values": choice.values,
        "tuning_seeds": choice.tuning_seeds,
        "is_fresh": choice.is_fresh,
        "time_to_target": None if time is None else {**time._asdict(), "each": [one._asdict() for one in time.each]},
        "sensitivity": None
        if found is None
        else {
            **found._asdict(),
            "points": [{**point._asdict(), "reported": point.reported._asdict()} for point in found.points],
            "window": None if found.window is None else found.window._asdict(),
        },
        "settings": [_setting(one) for one in choice.ranked],
    }


def _setting(one: SettingNumbers) -> dict[str, object]:
    return {
        "label": one.runs.label,
        "setting": one.runs.setting,
        "seeds": one.runs.seeds,
        "competes": one.competes,
        "chosen_by": one.chosen_by._asdict(),
        "reported": one.reported._asdict(),
    }


def _finite(value: object) -> object:
    """The same with null for NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value
