"""The output dictionary of a training loop: checked, and recorded where the loop did not do it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from regimen.errors import Problem, StrategyFailed, did_you_mean
from regimen.handle import Run

METRICS = {
    "train_losses": "train_eval/loss",
    "valid_losses": "valid/loss",
    "test_losses": "test/loss",
    "train_accuracies": "train_eval/accuracy",
    "valid_accuracies": "valid/accuracy",
    "test_accuracies": "test/accuracy",
}
"""DeepOBS' names and those of the record."""
MINIBATCH = "minibatch_train_losses"


def check_output(output: object, runner: str, num_epochs: int | None) -> None:
    """Raises `StrategyFailed` unless `output` holds lists with one number before training and one an epoch.

    `num_epochs` is None for a loop that gave up: then every list may be shorter.
    """
    place = f"{runner}.training"
    if not isinstance(output, Mapping):
        fix = "Return a dictionary of lists: train_losses, valid_losses, test_losses, ..."
        raise StrategyFailed(Problem(place, f"returned {type(output).__name__}.", fix))
    problems: list[Problem] = []
    if "test_losses" not in output:
        near = did_you_mean("test_losses", [str(key) for key in output])
        problems.append(Problem(place, f"returned no test_losses; it returned {', '.join(map(str, output))}.", near))
    for name in METRICS.keys() & output.keys():
        numbers = output[name]
        if not isinstance(numbers, list | tuple) or not all(isinstance(value, int | float) for value in numbers):
            problems.append(Problem(place, f"returned {name} that are no list of numbers.", "Use float(loss)."))
        elif num_epochs is not None and len(numbers) not in (0, num_epochs + 1):
            fix = "Evaluate before the first epoch and after each one."
            text = f"returned {len(numbers)} {name} for {num_epochs} epochs; expected {num_epochs + 1}."
            problems.append(Problem(place, text, fix))
    odd = [key for key in output if str(key).endswith(("_losses", "_accuracies")) and key not in (*METRICS, MINIBATCH)]
    problems += [Problem(place, f"returned {key!r}.", did_you_mean(str(key), [*METRICS, MINIBATCH])) for key in odd]
    if problems:
        raise StrategyFailed(problems)


def unrecorded(output: Mapping[str, Any], steps_an_epoch: int, run: Run) -> Iterator[tuple[int, dict[str, float]]]:
    """(step, values) of an output dictionary that the run's record lacks, by epoch."""
    recorded = run.recorded_keys
    missing = {name: key for name, key in METRICS.items() if output.get(name) and key not in recorded}
    for epoch in range(max((len(output[name]) for name in missing), default=0)):
        yield (
            epoch * steps_an_epoch,
            {key: float(output[name][epoch]) for name, key in missing.items() if epoch < len(output[name])},
        )


def finals(output: Mapping[str, Any]) -> dict[str, float]:
    """The last number of each list, under the names of the record."""
    return {key: float(output[name][-1]) for name, key in METRICS.items() if output.get(name)} or {"loss": math.nan}
