"""A tune description checked as a whole: its tasks, every end of its space, and what halving can go on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regimen.errors import Problem, Refused, RegimenError, SpecError
from regimen.study.course import Course
from regimen.study.description import SETS, TuneSpec, as_yaml
from regimen.study.methods import Halving, Listed
from regimen.study.space import Range
from regimen.study.trial import Place, Trial
from regimen.study.tuners import make_tuner
from regimen.study.workshop import Workshop


def courses(spec: TuneSpec, workshop: Workshop, log: Mapping[Place, Trial]) -> list[Course]:
    """A course for each task. Raises `SpecError`, `Refused` or `DataError` with everything that is wrong."""
    problems: list[Problem] = []
    kind: type[RegimenError] = SpecError
    found: list[Course] = []
    for task in spec.bases:
        try:
            found.append(_course(spec, task, workshop, log))
        except RegimenError as error:
            kind = type(error)
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise kind(problems)
    return found


def _course(spec: TuneSpec, task: str, workshop: Workshop, log: Mapping[Place, Trial]) -> Course:
    said = workshop.ask(_question(spec, task))
    if "space" in said:
        inside = [Problem(spec.place(path), message, fix) for path, message, fix in said["space"]]
        raise SpecError([*inside, *(Problem(*problem) for problem in said["elsewhere"])])
    if said["errors"]:
        raise Refused([Problem(*problem) for problem in said["errors"]])
    restarts = _restarts(spec, str(said["restarts"]))
    tuner = make_tuner(spec.tune.method, spec.tune.space, said["epochs"])
    return Course(
        task=task,
        base=said["base"],
        budget=said["budget"],
        epochs=said["epochs"],
        whole_epochs=said["whole_epochs"],
        tune=spec.tune,
        tuner=tuner,
        restarts=restarts,
        log=log,
        folder=spec.folder,
    )


def _question(spec: TuneSpec, task: str) -> dict[str, Any]:
    document, written = spec.document, spec.document.data["task"]
    written = written.get("name") if isinstance(written, dict) else written
    lines = [[list(keys), line] for keys, line in document.lines.items() if keys[0] not in ("tune", "output")]
    return {
        "do": "check",
        "base": spec.bases[task],
        "of_set": isinstance(written, str) and written in SETS,
        "source": document.source,
        "lines": lines,
        "space": _words(spec),
        "paths": spec.tune.paths,
    }


def _words(spec: TuneSpec) -> list[list[str]]:
    """By tuned path, the `path=value` words whose values must all be allowed: both ends, or every choice."""
    if isinstance(spec.tune.method, Listed):
        values = {path: [s[path] for s in spec.tune.method.settings if path in s] for path in spec.tune.paths}
    else:
        values = {
            path: [each.rounded(each.low), each.rounded(each.high)] if isinstance(each, Range) else each.choices
            for path, each in spec.tune.space.items()
        }
    return [list(dict.fromkeys(f"{path}={as_yaml(value)}" for value in found)) for path, found in values.items()]


def _restarts(spec: TuneSpec, reason: str) -> str:
    """Why halving trains a promoted setting from the start. Raises `Refused` where it is asked to go on and cannot."""
    method = spec.tune.method
    if not isinstance(method, Halving) or method.go_on is None:
        return reason
    if method.go_on and reason.startswith("the learning rate"):
        place = spec.document.place(("tune", "method", "go_on"))
        fix = "Set strategy.schedule: {name: constant, warmup: 0}, or remove go_on."
        raise Refused(Problem(place, f"is true, and {reason}: a shorter run is no beginning of a longer one.", fix))
    return "" if method.go_on else "as asked"
