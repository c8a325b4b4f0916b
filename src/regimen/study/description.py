"""A study as settings: what `tune:` holds, and the run descriptions that everything else in the file makes."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from regimen.document import Document, check, read_document
from regimen.errors import Problem, Refused, SpecError
from regimen.spec import Frozen
from regimen.study.methods import Grid, Halving, Listed, Method, method_settings
from regimen.study.space import Dimension, Range, by_path, dimension_of
from regimen.study.trial import Setting

SETS = {
    "small": ("quadratic_deep", "mnist_vae", "fmnist_2c2d", "cifar10_3c3d"),
    "large": ("fmnist_vae", "cifar100_allcnnc", "svhn_wrn164", "tolstoi_char_rnn"),
}
"""DeepOBS' sets of test problems."""
_FIXED = ("seed", "budget", "output", "log", "checkpoint", "workers", "schema_version", "device", "threads")
"""Settings that no space may name: the protocol's own, and what changes nothing that is computed."""
_FRESH = 10
"""Seeds of the rerun where none are given."""


class TuneSettings(Frozen):
    """How settings are chosen, compared and confirmed."""

    method: Annotated[Method, BeforeValidator(method_settings)] = Grid()
    """what is tried: grid, random, halton, sobol, bayesian, halving, or listed"""
    space: Annotated[dict[str, Annotated[Dimension, BeforeValidator(dimension_of)]], BeforeValidator(by_path)] = {}
    """settings paths with the values to try"""
    metric: str = "valid/loss"
    """what settings are compared by: a validation metric"""
    mode: Literal["min", "max"] | None = None
    """whether the metric is better when smaller or larger; unset: smaller for a loss"""
    at: Literal["final", "best"] = "final"
    """the metric after the last epoch, or after the best one"""
    over: Literal["mean", "median"] = "mean"
    """how the seeds of a setting become one number"""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)] = [42]
    """each setting is trained with all of them"""
    rerun_seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] | None = None
    """the best setting is trained again with these, and the result is theirs alone; unset: the next ten, [] for none"""
    processes: Annotated[int, Field(ge=1)] | None = None
    """runs at the same time, one thread each; unset: one a core. The result is the same for any number"""
    replicas: Annotated[int, Field(ge=2)] | Literal["auto", "off"] = "off"
    """train settings of a test problem at once in each process, where a calibration of a few steps finds it faster and
    its weights equal: auto, at most so many, or off. Numbers are those of `off` up to rounding
    """
    target: float | None = None
    """a value of the metric: the report counts which reruns reach it, and after how many epochs"""
    keep_checkpoints: bool = False
    """keep the checkpoints of tuning runs, not only those of the reruns"""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.mode is None and not self.metric.endswith("loss"):
            raise _wrong("mode", f"is not set: is {self.metric} better when larger?", "Set it to max or min.")
        for name in ("seeds", "rerun_seeds"):
            seeds = getattr(self, name) or []
            if len(set(seeds)) < len(seeds):
                raise _wrong(name, f"is {seeds}: a seed twice is one seed.", "Give each once.")
        both = sorted({*self.seeds} & {*self.fresh_seeds})
        if both:
            fix = "Reruns are fresh: a seed that helped to choose flatters the choice. Give other ones."
            raise _wrong("rerun_seeds", f"has {', '.join(map(str, both))}, which tuning uses.", fix)
        self._check_space()
        return self

    def _check_space(self) -> None:
        listed = isinstance(self.method, Listed)
        if listed and self.space:
            raise _wrong("space", "is given beside a list of settings.", "Remove one of the two.")
        if not listed and not self.space:
            raise _wrong(
                "space", "is empty.", "Name what to tune: {strategy.optimizer.lr: {low: 1e-5, high: 1e2, log: true}}."
            )
        gridded = isinstance(self.method, Grid) or (isinstance(self.method, Halving) and self.method.draw == "grid")
        for path, each in self.space.items():
            if gridded and isinstance(each, Range) and each.points is None:
                raise _wrong(
                    ("space", path), "does not say how many points a grid has.", "Give points, or a list of values."
                )
        if isinstance(self.method, Halving) and not gridded and self.method.trials is None:
            raise _wrong(("method",), "does not say how many settings are drawn.", "Give trials.")
        for path in self.paths:
            if path.partition(".")[0] in _FIXED or path in ("task", "task.name", "strategy", "strategy.name"):
                place = ("method", "settings") if listed else ("space", path)
                raise _wrong(
                    place, f"names {path}, which a study of one strategy does not vary.", "Tune another setting."
                )

    @property
    def paths(self) -> list[str]:
        """The settings paths that are tuned."""
        if isinstance(self.method, Listed):
            return list(dict.fromkeys(path for setting in self.method.settings for path in setting))
        return list(self.space)

    @property
    def fresh_seeds(self) -> list[int]:
        """Of the rerun."""
        if self.rerun_seeds is not None:
            return list(self.rerun_seeds)
        return list(range(max(self.seeds) + 1, max(self.seeds) + 1 + _FRESH))

    @property
    def num_processes(self) -> int:
        return self.processes or len(os.sched_getaffinity(0))


class _TuneFile(Frozen):
    model_config = ConfigDict(extra="allow")
    tune: TuneSettings
    """how settings are chosen, compared and confirmed"""
    output: Annotated[Path | None, BeforeValidator(lambda value: value)] = None
    """the folder of this study"""


@dataclass(frozen=True)
class TuneSpec:
    """A tune description that has been read: its `tune` section checked, its runs not yet."""

    document: Document
    tune: TuneSettings
    folder: Path
    """Of the study."""
    bases: Mapping[str, dict[str, Any]]
    """By task: the run description that settings, seed and budget are put on."""

    def place(self, path: str) -> str:
        """Where a tuned path stands in the file."""
        return self.document.place(
            ("tune", "space", path) if path in self.tune.space else ("tune", "method", "settings")
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the trials: everything but how many are trained at the same time and what is kept."""
        tune = self.tune.model_dump(mode="json", exclude={"processes", "replicas", "keep_checkpoints"})
        kept = {task: {k: v for k, v in base.items() if k != "output"} for task, base in self.bases.items()}
        return {"tasks": kept, "tune": tune | {"rerun_seeds": self.tune.fresh_seeds}}


def read_tune(source: str | Path | Mapping[str, Any], overrides: Iterable[str] = ()) -> TuneSpec:
    """Reads a tune description. Raises `SpecError`, and `Refused` for a metric that must not choose."""
    document = read_document(source).with_overrides(overrides)
    if "tune" not in document.data:
        fix = "Add `tune: {space: {strategy.optimizer.lr: {low: 1e-5, high: 1e2, log: true, points: 36}}}`."
        raise SpecError(Problem(document.source or "the description", "lacks `tune`.", fix))
    checked = check(document, _TuneFile)
    tune = checked.tune
    _check_metric(tune, document)
    name = "tune" if isinstance(source, Mapping) else Path(source).stem
    folder = checked.output or Path("studies") / name
    return TuneSpec(document, tune, folder, dict(_bases(document, folder)))


def _check_metric(tune: TuneSettings, document: Document) -> None:
    split = tune.metric.partition("/")[0]
    if split == "valid":
        return
    why = {
        "test": "choosing by test numbers makes them no test any more; they are read once, for the report",
        "train": "choosing by the training loss rewards overfitting",
        "train_eval": "choosing by training rows rewards overfitting",
    }.get(split, "settings are compared by a metric of the validation rows")
    problem = Problem(document.place(("tune", "metric")), f"is {tune.metric!r}; {why}.", "Use valid/loss or the like.")
    raise Refused(problem)


def _bases(document: Document, folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """A run description for each task."""
    if "seed" in document.data:
        text = "is set by tune.seeds and tune.rerun_seeds."
        raise SpecError(Problem(document.place(("seed",)), text, "Remove it here."))
    common = {key: value for key, value in document.data.items() if key not in ("tune", "task", "output")}
    common.setdefault("threads", 1)
    checkpoint = common.setdefault("checkpoint", {})
    if isinstance(checkpoint, dict):  # else the check of the run says what is wrong with it
        common["checkpoint"] = {"every": 1000, "keep": 1, **checkpoint}
    found: dict[str, dict[str, Any]] = {}
    for task in _tasks(document):
        name = str(task["name"])
        if name in found:
            raise SpecError(Problem(document.place(("task",)), f"has {name} twice.", "Give each task once."))
        found[name] = {"task": task, **copy.deepcopy(common), "output": str(folder / "runs")}
    return list(found.items())


def _tasks(document: Document) -> list[dict[str, Any]]:
    written = document.data.get("task")
    tasks = written if isinstance(written, list) and written else [written]
    found: list[dict[str, Any]] = []
    for task in tasks:
        named = {"name": task} if isinstance(task, str) else task
        if not isinstance(named, dict) or not isinstance(named.get("name"), str):
            fix = f"Write task: {{name: ...}}, a list of such, or {' or '.join(SETS)}."
            raise SpecError(Problem(document.place(("task",)) or "task", "is no task.", fix))
        names = SETS.get(named["name"], (named["name"],))
        found += [{**named, "name": name} for name in names]
    return found


def described(
    base: Mapping[str, Any], setting: Setting, seed: int | None = None, epochs: float | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The description of one run, and the `path=value` words that make it of `base` on a command line."""
    words = [f"{path}={as_yaml(value)}" for path, value in setting.items()]
    if epochs is not None:
        words.append(f"budget.epochs={as_yaml(epochs)}")
    if seed is not None:
        words.append(f"seed={seed}")
    return Document(dict(base)).with_overrides(words).data, words


def as_yaml(value: object) -> str:
    """A value as `--set` reads it back: JSON, which YAML includes.

    >>> as_yaml(1e-05), as_yaml(True), as_yaml("yes"), as_yaml("1e-3")
    ('1e-05', 'true', '"yes"', '"1e-3"')
    """
    return json.dumps(value, ensure_ascii=False)


def _wrong(place: str | tuple[str, ...], problem: str, fix: str) -> PydanticCustomError:
    keys = (place,) if isinstance(place, str) else place
    return PydanticCustomError("tune", "{problem}", {"problem": problem, "fix": fix, "keys": keys})
