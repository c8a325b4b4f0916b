"""The names of DeepOBS' folders and files: what was set is readable from the path.

<output_dir>/<testproblem>/<optimizer>/num_epochs__<N>__batch_size__<B>[__weight_decay__<w>]__<hp>__<v>...[__<tp>__<v>...]/
    random_seed__<s>__<YYYY-MM-DD-HH-MM-SS>.json
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

_LONGEST_NAME = 240
"""Bytes of one folder name; file systems allow 255."""
_STAMP = "%Y-%m-%d-%H-%M-%S"
_FILE = re.compile(r"random_seed__(\d+)__(\d{4}(?:-\d\d){5})(?:-(\d+))?\.json")


def run_path(
    testproblem: str,
    batch_size: int,
    num_epochs: float,
    weight_decay: float | None,
    random_seed: int,
    optimizer_name: str,
    hyperparams: Mapping[str, object],
    training_params: Mapping[str, object],
    when: datetime,
) -> Path:
    """Where a run's JSON lies below the output folder. `weight_decay` None means: the problem's own, not named.

    >>> when = datetime(2026, 1, 31, 23, 59, 1)
    >>> path = run_path("quadratic_deep", 128, 100, None, 42, "SGD", {"lr": 0.01, "nesterov": False}, {}, when)
    >>> path.parts[:3]
    ('quadratic_deep', 'SGD', 'num_epochs__100__batch_size__128__lr__1.e-02__nesterov__False')
    >>> path.name
    'random_seed__42__2026-01-31-23-59-01.json'
    """
    name = setting_start(num_epochs, batch_size, weight_decay)
    name = with_training_params(with_hyperparams(name, hyperparams), training_params)
    return Path(
        safe(testproblem), safe(optimizer_name), shortened(name), f"{seed_start(random_seed)}{stamp(when)}.json"
    )


def setting_start(num_epochs: float, batch_size: int, weight_decay: float | None) -> str:
    """The part of a setting's folder name that every run has."""
    name = f"num_epochs__{value_text(num_epochs)}__batch_size__{batch_size}"
    return name if weight_decay is None else f"{name}__weight_decay__{float_text(weight_decay)}"


def with_hyperparams(name: str, hyperparams: Mapping[str, object]) -> str:
    """Adds the optimizer's hyperparameters, sorted; those of an optimizer within it under its name and a dot."""
    return name + "".join(f"__{key}__{value_text(value)}" for key, value in sorted(flattened(hyperparams)))


def with_training_params(name: str, training_params: Mapping[str, object]) -> str:
    """Adds the training parameters, sorted; None means not given."""
    given = {key: value for key, value in training_params.items() if value is not None}
    return name + "".join(f"__{key}__{value_text(value)}" for key, value in sorted(flattened(given)))


def seed_start(random_seed: int) -> str:
    """The start of a run's file name; the time follows."""
    return f"random_seed__{random_seed}__"


def stamp(when: datetime) -> str:
    """The time as file names have it."""
    return when.strftime(_STAMP)


def file_time(name: str) -> tuple[str, int]:
    """When a file was written, by its name, and its number among those of one second; sorts by age.

    >>> file_time("random_seed__42__2019-02-13-14-36-12.json")
    ('2019-02-13-14-36-12', 1)
    """
    found = _FILE.fullmatch(name)
    return (found[2], int(found[3] or 1)) if found else ("", 0)


def value_text(value: object) -> str:
    """A value as a part of a name.

    >>> value_text(0.01), value_text(2), value_text(True), value_text([0.9, 0.5]), value_text("a/b")
    ('1.e-02', '2', 'True', '[0.9, 0.5]', 'a-b')
    """
    if isinstance(value, float):
        return float_text(value)
    return safe(str(list(value)) if isinstance(value, tuple) else str(value))


def float_text(value: float) -> str:
    """Mantissa without trailing zeros and an exponent of two digits.

    >>> float_text(0.01), float_text(0.999), float_text(0.0), float_text(0.000251188643150958)
    ('1.e-02', '9.99e-01', '0.e+00', '2.5118864315e-04')
    """
    mantissa, _, exponent = f"{value:.10e}".partition("e")
    return f"{mantissa.rstrip('0')}e{exponent}"


def flattened(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    """Every value with its dotted name; lists stay whole.

    >>> dict(flattened({"lr": 0.1, "inner": {"name": "sgd", "lr": 0.2}}))
    {'lr': 0.1, 'inner.name': 'sgd', 'inner.lr': 0.2}
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def safe(text: str) -> str:
    """A text without what separates folders, hidden files and control characters."""
    return re.sub(r"[/\\\x00-\x1f]+", "-", text).lstrip(".") or "-"


def shortened(name: str) -> str:
    """A folder name that file systems take: one that is too long is cut, and its hash says the rest."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[: _LONGEST_NAME - 13].decode(errors='ignore')}-{digest}"
