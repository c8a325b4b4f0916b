"""Architectures whose quality and cost are known from a file: search strategies against the truth.

NAS-Bench-Macro's JSON (Su et al., arXiv:2103.11922), 8 layers with the choices Identity, MB3_K3, MB6_K5:

    {"02012100": {"test_acc": [89.47, 88.95, 89.17], "params": 890666, "flops": 47327744}, ...}

Our own, as CSV or as JSON (a list of objects with the same keys):

    architecture,quality,mmac,params,ms
    0-2-1,89.2,47.3,890666,1.9

A choice a layer, joined by `-`; a column `quality`, or `quality_0`, `quality_1`, ... for several trials; the costs that
are known, in their units.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from regimen.errors import DataError, Problem, SpecError
from regimen.nas.cost import Cost, CostTable, Unit
from regimen.nas.space import Architecture, Space

_MACRO_STAGES = (2, 3, 3)
"""Layers of each stage; the first of a stage halves the image, so its Identity is no plain one."""
_MACRO_CHOICES = ("Identity", "MB3_K3", "MB6_K5")
_UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True)
class ListedCost:
    """A cost that is known for listed architectures, and is no sum over layers."""

    unit: Unit
    known: Mapping[Architecture, float]
    spread: float = 0.0

    def of(self, architectures: Sequence[Architecture] | NDArray[np.int64]) -> NDArray[np.float64]:
        """(N,). Raises `SpecError` for one that is not listed."""
        rows = [tuple(map(int, row)) for row in architectures]
        missing = next((row for row in rows if row not in self.known), None)
        if missing is not None:
            raise SpecError(Problem(written(missing), f"has no {self.unit} in the table.", "Add it to the file."))
        return np.array([self.known[row] for row in rows])

    def reach(self) -> tuple[float, float]:
        return min(self.known.values()), max(self.known.values())


@dataclass(frozen=True)
class Table:
    """What a file says of the architectures of a space."""

    space: Space
    architectures: tuple[Architecture, ...]
    trials_NT: NDArray[np.float64]
    """The qualities of each architecture in T independent trainings; larger is better."""
    costs: tuple[Cost, ...] = field(default=())

    @cached_property
    def rows(self) -> dict[Architecture, int]:
        """The row of each architecture."""
        return {architecture: row for row, architecture in enumerate(self.architectures)}

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """(N,): over the trials."""
        means: NDArray[np.float64] = self.trials_NT.mean(axis=1)
        return means

    def row(self, architecture: Architecture) -> int:
        """Raises `SpecError` for one that the file does not have."""
        if architecture not in self.rows:
            text = f"is not among the {len(self.architectures)} architectures of the table."
            raise SpecError(Problem(written(architecture), text, "Add it to the file."))
        return self.rows[architecture]

    def regret(
        self, architecture: Architecture, allowed: Callable[[Sequence[Architecture]], NDArray[np.bool_]]
    ) -> float:
        """How much worse its mean is than that of the best which is `allowed`."""
        return float(self.mean[allowed(self.architectures)].max() - self.mean[self.row(architecture)])


@dataclass(frozen=True)
class TabularEvaluator:
    """Looks qualities up. With a generator each architecture is judged by one of its trials, as a training would;
    without, by their mean.
    """

    table: Table
    generator: np.random.Generator | None = None

    @property
    def space(self) -> Space:
        return self.table.space

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        """Raises `SpecError` for one that the table does not have."""
        rows = [self.table.row(architecture) for architecture in architectures]
        if self.generator is None:
            return [float(self.table.mean[row]) for row in rows]
        trials = self.generator.integers(self.table.trials_NT.shape[1], size=len(rows))
        return [float(quality) for quality in self.table.trials_NT[rows, trials]]


def written(architecture: Sequence[int]) -> str:
    """As in a file: `0-2-1`."""
    return "-".join(map(str, architecture))


# ----------------------------------------------------------------------------------------------- NAS-Bench-Macro


def macro_space() -> Space:
    """The 3^8 architectures of NAS-Bench-Macro. They are 3,969 networks: inside a stage, after its first layer, it does
    not matter where an Identity is.
    """
    return Space("nas_bench_macro", (3,) * 8, (_MACRO_CHOICES,) * 8, canonical=_identities_last)


def _identities_last(architecture: Architecture) -> Architecture:
    found: list[int] = []
    for length in _MACRO_STAGES:
        first, *rest = architecture[len(found) : len(found) + length]
        blocks = [choice for choice in rest if choice]
        found += [first, *blocks, *[0] * (len(rest) - len(blocks))]
    return tuple(found)


def read_nas_bench_macro(path: Path) -> Table:
    """Raises `DataError` that names the file and the entry for what is no NAS-Bench-Macro."""
    entries = _json(path)
    if not isinstance(entries, dict) or not entries:
        raise DataError(Problem(str(path), "holds no object of architectures.", "Give nas-bench-macro_cifar10.json."))
    space, architectures, trials = macro_space(), list[Architecture](), list[list[float]]()
    costs: dict[Unit, list[float]] = {"mmac": [], "params": []}
    for name, entry in entries.items():
        try:
            architectures.append(space.check([int(digit) for digit in name]))
            trials.append([float(quality) for quality in entry["test_acc"]])
            costs["mmac"].append(entry["flops"] / 1e6)
            costs["params"].append(entry["params"])
        except (ValueError, KeyError, TypeError) as error:
            fix = "Expected test_acc, params and flops of an architecture of eight digits 0 to 2."
            raise DataError(Problem(f"{path} {name}", f"cannot be read: {error}.", fix)) from error
    return _table(path, space, architectures, trials, costs)


# ---------------------------------------------------------------------------------------------------- our own files


def read_table(path: Path, space: Space | None = None) -> Table:
    """A CSV or JSON file as the module says; without `space` it is the smallest that holds the architectures.

    Raises `DataError` that names the file, the line or entry, and the value.
    """
    if path.suffix == ".json":
        listed = _json(path)
        if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
            raise DataError(Problem(str(path), "is no list of objects.", 'Write [{"architecture": "0-1", ...}, ...].'))
        rows = [(f"{path} entry {number}", row) for number, row in enumerate(listed, 1)]
    else:
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [(f"{path}:{reader.line_num}", dict(row)) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(Problem(str(path), f"cannot be read: {error}.")) from error
    if not rows:
        raise DataError(Problem(str(path), "holds no architecture.", "Write one a line."))
    return _from_rows(path, rows, space)


def _from_rows(path: Path, rows: Sequence[tuple[str, Mapping[str, Any]]], space: Space | None) -> Table:
    first = [str(name) for name in rows[0][1]]
    names = sorted((name for name in first if _is_quality(name)), key=lambda name: (len(name), name))
    units = [unit for unit in _UNITS if unit in first]
    expected = {"architecture", *names, *units}
    for place, row in rows:
        if set(row) != expected or not names:
            text = f"has the columns {', '.join('(one too many)' if name is None else str(name) for name in row)}."
            fix = f"Expected architecture, quality, and of {', '.join(_UNITS)} what is known; the same everywhere."
            raise DataError(Problem(place, text, fix))
    architectures = [_architecture(place, row.get("architecture")) for place, row in rows]
    trials = [[_number(place, name, row.get(name)) for name in names] for place, row in rows]
    costs = {unit: [_number(place, unit, row.get(unit)) for place, row in rows] for unit in units}
    if space is None:
        depth = len(architectures[0])
        for (place, _), architecture in zip(rows, architectures, strict=True):
            if len(architecture) != depth:
                text = f"has {len(architecture)} layers; the first has {depth}."
                raise DataError(Problem(place, text, "Give one choice a layer."))
        space = Space(path.stem, tuple(max(choices) + 1 for choices in zip(*architectures, strict=True)))
    for (place, _), architecture in zip(rows, architectures, strict=True):
        space.check(architecture, place)
    return _table(path, space, architectures, trials, costs)


def _is_quality(name: str) -> bool:
    return name == "quality" or (name.startswith("quality_") and name[8:].isdigit())


def _architecture(place: str, value: object) -> Architecture:
    parts = value.split("-") if isinstance(value, str) else value if isinstance(value, list) else []
    try:
        found = tuple(int(part) for part in parts)
    except (ValueError, TypeError):
        found = ()
    if not found or min(found) < 0:
        raise DataError(Problem(place, f"has the architecture {value!r}.", "Write a choice a layer: 0-2-1."))
    return found


def _number(place: str, name: str, value: object) -> float:
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = float("nan")
    if not np.isfinite(found):
        raise DataError(Problem(place, f"has the {name} {value!r}.", "Write a finite number."))
    return found


# ----------------------------------------------------------------------------------------------------- both


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(Problem(str(path), f"cannot be read: {error}.", "Give a JSON file.")) from error


def _table(
    path: Path,
    space: Space,
    architectures: Sequence[Architecture],
    trials: Sequence[Sequence[float]],
    costs: Mapping[Unit, Sequence[float]],
) -> Table:
    seen: set[Architecture] = set()
    for architecture in architectures:
        if architecture in seen:
            raise DataError(Problem(str(path), f"has {written(architecture)} twice.", "Keep one of them."))
        seen.add(architecture)
    if len({len(each) for each in trials}) != 1:
        raise DataError(
            Problem(str(path), "has different numbers of trials.", "Give each architecture the same number.")
        )
    found = tuple(_cost(unit, space, architectures, known) for unit, known in costs.items())
    return Table(space, tuple(architectures), np.array(trials, dtype=np.float64), found)


def _cost(unit: Unit, space: Space, architectures: Sequence[Architecture], known: Sequence[float]) -> Cost:
    """A table by layer where the numbers are such a sum, to rounding; else the list."""
    table = additive(unit, space, architectures, np.array(known))
    return table or ListedCost(unit, dict(zip(architectures, known, strict=True)))


def additive(
    unit: Unit, space: Space, architectures: Sequence[Architecture], known: NDArray[np.float64]
) -> CostTable | None:
    """The cost of each choice of each layer, where the costs `known` (N,) are their sums; None where they are not.

    All choices of the space must occur. The cheapest choice of a layer counts as 0, the rest is in `base`.
    """
    chosen_NL = np.asarray(architectures)
    if any(len(np.unique(chosen_NL[:, layer])) < size for layer, size in enumerate(space.sizes)):
        return None
    columns = [np.ones((len(chosen_NL), 1))]
    columns += [np.eye(size)[chosen_NL[:, layer]] for layer, size in enumerate(space.sizes)]
    solved = np.linalg.lstsq(np.concatenate(columns, axis=1), known, rcond=None)[0]
    parts = np.split(solved[1:], np.cumsum(space.sizes)[:-1])
    table = CostTable(
        unit, float(solved[0] + sum(part.min() for part in parts)), tuple(part - part.min() for part in parts)
    )
    close = np.allclose(table.of(architectures), known, rtol=1e-9, atol=0)
    return table if close else None
