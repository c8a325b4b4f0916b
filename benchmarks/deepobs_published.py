"""DeepOBS' published results on quadratic_deep, run again with 10 seeds for SGD, Momentum and Adam at their best rates.

    python benchmarks/deepobs_published.py

Prints the mean and standard deviation (n - 1) of the final test loss beside the published ones, and how many standard
errors of the difference lie between them. Twice: with one order of the rows for all epochs, which the published files
show (their minibatch losses repeat every 7 steps), and with a fresh order in each epoch, which is what training does.
The published numbers are over the first 896 of the 1,000 test rows, since DeepOBS left out a last short batch.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch

import regimen
from regimen.checkpoint import Checkpoints
from regimen.records.reader import Record
from regimen.tasks.analytic import QuadraticDeep


class Published(NamedTuple):
    optimizer: dict[str, Any]
    mean: float
    std: float


PUBLISHED = {
    "SGD": Published({"name": "sgd", "lr": 0.0158489319246111}, 87.3975, 0.1690),
    "Momentum": Published({"name": "sgd", "lr": 0.00251188643150958, "momentum": 0.99}, 87.0450, 0.0252),
    "Adam": Published({"name": "adam", "lr": 0.0398107170553497}, 87.1119, 0.0242),
}
SEEDS = range(42, 52)
ROWS = 896


def loss_on_their_rows(record: Record) -> float:
    """The final test loss over the rows that DeepOBS used."""
    problem = QuadraticDeep()
    net = problem.make_net()
    checkpoint = Checkpoints(record.folder).newest()
    assert checkpoint is not None
    with torch.no_grad():
        net.theta.copy_(checkpoint.state["state"]["weights"]["theta"])
        return float(net(problem.read().test.inputs[:ROWS]).mean())


def final_losses(optimizer: dict[str, Any], reshuffle: bool, folder: Path) -> list[float]:
    """One a seed."""
    spec = {
        "task": {"name": "quadratic_deep", "reshuffle": reshuffle},
        "strategy": {"name": "standard", "optimizer": optimizer},
        "threads": 1,
        "output": str(folder),
        "checkpoint": {"every": 700, "keep": 1},
    }
    return [loss_on_their_rows(regimen.run({**spec, "seed": seed})) for seed in SEEDS]


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'':10}{'order':>12}{'published':>20}{'ours':>20}{'difference in s.e.':>20}")
    with tempfile.TemporaryDirectory() as folder:
        for reshuffle in (False, True):
            for name, published in PUBLISHED.items():
                losses = final_losses(published.optimizer, reshuffle, Path(folder))
                mean, std = statistics.mean(losses), statistics.stdev(losses)
                errors = (mean - published.mean) / math.sqrt((std**2 + published.std**2) / len(losses))
                said = f"{published.mean:.4f} +- {published.std:.4f}"
                order = "fresh" if reshuffle else "the same"
                print(f"{name:10}{order:>12}{said:>20}{f'{mean:.4f} +- {std:.4f}':>20}{errors:>20.2f}", flush=True)


if __name__ == "__main__":
    main()
