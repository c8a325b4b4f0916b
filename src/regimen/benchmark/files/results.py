"""Many runs together: which are of one setting, which are there twice."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from regimen.benchmark.files.names import file_time, flattened
from regimen.benchmark.files.output import Output
from regimen.errors import Problem

_SAME = 1e-9
"""Numbers that agree to 10 significant digits are one setting: DeepOBS' reruns rounded what its grid had in full."""


class Setting(NamedTuple):
    """The runs that differ in their seed only, by seed."""

    testproblem: str
    optimizer_name: str
    outputs: tuple[Output, ...]

    @property
    def hyperparams(self) -> Mapping[str, object]:
        """Of its first seed."""
        return self.outputs[0].hyperparams

    @property
    def training_params(self) -> Mapping[str, object]:
        return self.outputs[0].training_params

    @property
    def learning_rate(self) -> float | None:
        return self.outputs[0].learning_rate

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(output.random_seed for output in self.outputs)


@dataclass(frozen=True)
class Results:
    """What was read from a folder or an archive."""

    settings: tuple[Setting, ...]
    """By problem, optimizer, and hyperparameters."""
    duplicates: tuple[Output, ...] = ()
    """Older runs of a seed that its setting has already; in no setting."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers must know: duplicates, copies, filled epochs."""
    problems: tuple[Problem, ...] = ()
    """Files that could not be read."""

    @property
    def outputs(self) -> Iterator[Output]:
        """Every run that counts."""
        return (output for setting in self.settings for output in setting.outputs)

    def __len__(self) -> int:
        return sum(len(setting.outputs) for setting in self.settings)


def gathered(outputs: Iterable[Output], problems: Sequence[Problem] = ()) -> Results:
    """The runs by setting and seed; of two with one seed the newer one counts, and the other is named."""
    single, notes = _without_copies(outputs)
    groups: dict[Hashable, list[Output]] = defaultdict(list)
    for output, key in _keyed(single):
        groups[key].append(output)
    settings, older = [], list[Output]()
    for group in groups.values():
        by_seed: dict[int, Output] = {}
        for output in sorted(group, key=_age):
            if output.random_seed in by_seed:
                older.append(by_seed[output.random_seed])
            by_seed[output.random_seed] = output
        runs = tuple(by_seed[seed] for seed in sorted(by_seed))
        settings.append(Setting(runs[0].testproblem, runs[0].optimizer_name, runs))
    notes += [
        f"{run.path}: seed {run.random_seed} of its setting was run again later; the newer run counts." for run in older
    ]
    notes += [f"{output.path}: {note}" for output in single for note in output.notes]
    return Results(tuple(sorted(settings, key=_order)), tuple(older), tuple(notes), tuple(problems))


def _order(setting: Setting) -> tuple[str, str, float, str]:
    rate = setting.learning_rate
    return (
        setting.testproblem,
        setting.optimizer_name,
        math.inf if rate is None else rate,
        json.dumps([setting.hyperparams, setting.training_params], sort_keys=True, default=str),
    )


def _age(output: Output) -> tuple[str, int, str]:
    return (*file_time(PurePath(output.path).name), output.path)


def _without_copies(outputs: Iterable[Output]) -> tuple[list[Output], list[str]]:
    """The runs without those that are there twice, as a file and in a table; the one with more in it is kept."""
    kept: dict[Hashable, Output] = {}
    copies: dict[tuple[str, str], int] = defaultdict(int)
    for output in outputs:
        key = _place_in_tree(output)
        other = kept.setdefault(key, output)
        if other is not output:
            better, worse = sorted([other, output], key=lambda run: len(run.minibatch_train_losses) == 0)
            kept[key] = better
            copies[_source(better), _source(worse)] += 1
    notes = [f"{count} runs of {worse} are in {better}, too; those count." for (better, worse), count in copies.items()]
    return list(kept.values()), notes


def _place_in_tree(output: Output) -> Hashable:
    """Problem, optimizer, setting and file: two runs that share all of it are one run, copied."""
    parts = PurePath(output.path).parts[-4:]
    return parts if file_time(parts[-1])[0] else output.path


def _source(output: Output) -> str:
    return str(PurePath(*PurePath(output.path).parts[:-4]))


def _keyed(outputs: Iterable[Output]) -> Iterator[tuple[Output, Hashable]]:
    """Each run with what its setting is told by, numbers that are alike made the same."""
    by_experiment: dict[Hashable, list[Output]] = defaultdict(list)
    for output in outputs:
        by_experiment[output.testproblem, output.optimizer_name, output.batch_size, output.num_epochs].append(output)
    for experiment, runs in by_experiment.items():
        leaves = [dict(_leaves(run)) for run in runs]
        numbers: dict[str, set[float]] = defaultdict(set)
        for each in leaves:
            for name, value in each.items():
                if isinstance(value, float):
                    numbers[name].add(value)
        alike = {name: _representatives(values) for name, values in numbers.items()}
        for run, each in zip(runs, leaves, strict=True):
            same = {k: alike[k][v] if isinstance(v, float) else v for k, v in each.items()}
            yield run, (experiment, tuple(sorted(same.items(), key=lambda item: item[0])))


def _leaves(output: Output) -> Iterator[tuple[str, Hashable]]:
    """What was set, value by value; numbers as floats, so that 1 and 1.0 are the same."""
    groups = {
        "hyperparams": output.hyperparams,
        "training_params": output.training_params,
        "weight_decay": output.weight_decay,
    }
    for name, value in flattened(groups):
        whole = {name: value}
        parts = {f"{name}[{n}]": each for n, each in enumerate(value)} if isinstance(value, list) else whole
        for leaf, each in parts.items():
            if isinstance(each, int | float) and not isinstance(each, bool):
                yield leaf, float(each)
            else:
                yield leaf, json.dumps(each, sort_keys=True, default=str)


def _representatives(values: Iterable[float]) -> dict[float, float]:
    """Each number with the smallest of those like it.

    >>> _representatives([0.00025118864315, 0.1, 0.000251188643150958])
    {0.00025118864315: 0.00025118864315, 0.000251188643150958: 0.00025118864315, 0.1: 0.1}
    """
    found: dict[float, float] = {}
    last = math.nan
    for value in sorted(values):
        last = last if math.isclose(value, last, rel_tol=_SAME) else value
        found[value] = last
    return found
