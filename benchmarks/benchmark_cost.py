"""What optimizer benchmarks cost here, beside what they cost otherwise, measured by turns in one run.

    python benchmarks/benchmark_cost.py [loop] [study] [growth] [--data DIR] [--repeats 3] [--epochs 100]

loop    a training epoch of the standard runner, with and without a record, against the loop that one writes by hand
        with DataLoader(TensorDataset) and torch.optim
study   36 learning rates and ten seeds: DeepOBS' protocol (all rates for all epochs, the best with nine more seeds)
        against halving with ten fresh seeds; trained on quadratic_deep, and replayed on DeepOBS' published curves
growth  the same 16 runs with more processes, with and without replicas

Times are CPU seconds of one thread (medians of the repeats), unless they are called wall seconds. `--data` is a folder
with MNIST, Fashion-MNIST and the published curves (deepobs_baselines); what it lacks is left out.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import regimen
from regimen.errors import RegimenError
from regimen.study.methods import Grid, Halving
from regimen.study.replay import replay
from regimen.study.report import StudyReport, TaskReport
from regimen.study.tuning import tune
from regimen.study.warmprocess import WarmProcess
from training_loops import Loop, description

LOOPS = {
    "quadratic_deep": 4000,
    "mnist_logreg": 2500,
    "digits_mlp": 4000,
    "fmnist_mlp": 120,
    "fmnist_2c2d": 8,
}
"""Problems, and the steps that are timed."""
LR = "strategy.optimizer.lr"
RATES = {"low": 1e-5, "high": 1e2, "log": True, "points": 36}
"""DeepOBS' grid."""
PUBLISHED = {"quadratic_deep": ("test_losses", "min"), "fmnist_2c2d": ("test_accuracies", "max")}


def table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print(f"\n{title}")
    for row in [head, *rows]:
        cells = (
            cell.ljust(w) if index == 0 else cell.rjust(w)
            for index, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  " + "  ".join(cells), flush=True)


# ------------------------------------------------------------------ a: the loop


def compare_loops(data: Path | None, repeats: int, folder: Path) -> None:
    rows: list[tuple[str, ...]] = []
    for name, steps in LOOPS.items():
        try:
            loop = Loop(name, data, steps, folder)
        except RegimenError as error:
            print(f"  without {name}: {error}")
            continue
        ways = (loop.by_hand, loop.unrecorded, loop.recorded)
        took = [[way() * len(loop.live.batches) / steps for way in ways] for _ in range(repeats + 1)][
            1:
        ]  # one warms up
        middle = [statistics.median(times) for times in zip(*took, strict=True)]
        spread = max((max(times) - min(times)) / statistics.median(times) for times in zip(*took, strict=True))
        ratios = [f"{middle[0] / each:.2f}" for each in middle[1:]]
        rows.append((name, *(f"{1000 * each:.1f}" for each in middle), *ratios, f"{spread:.0%}"))
    head = ("CPU ms an epoch", "by hand", "unrecorded", "recorded", "faster", "recorded", "spread")
    table(f"a. The loop: training alone, SGD with momentum, n = {repeats}", head, rows)


# ------------------------------------------------------------------ b: a study


class Cost(NamedTuple):
    """What a protocol cost, and what it chose."""

    protocol: str
    epochs: float
    cpu_s: float
    best: Mapping[str, Any]
    mean: float
    std: float
    seeds: int


def protocol(name: str, method: Mapping[str, Any], seeds: list[int], epochs: int, folder: Path) -> Cost:
    """A study on quadratic_deep: SGD, whose rate is chosen on seed 42."""
    settings = {"method": method, "space": {LR: RATES}, "rerun_seeds": seeds, "processes": 1}
    more = {"tune": settings, "budget": {"epochs": epochs}, "output": str(folder / name), "evaluate": {}}
    told = description("quadratic_deep", **more)
    told["strategy"]["optimizer"] = {"name": "sgd"}
    before = children_s()
    report = tune(told).tasks[0]
    loss, cost = report.results["test/loss"], (report.tuning.epochs + report.reruns.epochs)
    assert report.best is not None
    return Cost(name, cost, children_s() - before, report.best.setting, loss.mean, loss.std or math.nan, loss.n)


def children_s() -> float:
    """CPU seconds of the processes that have ended."""
    spent = os.times()
    return spent.children_user + spent.children_system


def starting_s() -> float:
    """Of the process that runs are forked from, which every study starts once."""
    before = children_s()
    with WarmProcess() as process:
        process.send({"index": {}})
    return children_s() - before


def compare_protocols(epochs: int, folder: Path) -> None:
    costs: list[Cost] = []
    for name, method, seeds in (
        ("DeepOBS' protocol", {"name": "grid"}, list(range(43, 52))),
        ("halving, fresh seeds", {"name": "halving"}, list(range(43, 53))),
    ):
        costs.append(protocol(name, method, seeds, epochs, folder))
    whole, start = (36 + 9) * epochs, starting_s()
    rows = [
        (
            cost.protocol,
            f"{cost.epochs:g}",
            f"{cost.epochs / whole:.1%}",
            f"{cost.cpu_s - start:.1f}",
            f"{cost.best[LR]:.3g}",
            f"{cost.mean:.4f} ± {cost.std:.4f}",
            str(cost.seeds),
        )
        for cost in costs
    ]
    rows.insert(0, ("all 45 runs to their end", str(whole), "100.0%", "", "", "", ""))
    head = (
        f"quadratic_deep, SGD, {epochs} epochs",
        "epochs",
        "of all",
        "CPU s",
        "chosen lr",
        "test/loss of reruns",
        "n",
    )
    table("b. A study of 36 rates and ten seeds, trained (runs that diverge end at once)", head, rows)


def compare_replayed(data: Path) -> None:
    from regimen.benchmark.files import read_results

    path = data / "deepobs_baselines" / "epoch_metrics.jsonl.gz"
    if not path.exists():
        print(f"  without the published curves: there is no {path}")
        return
    outputs, rows = tuple(read_results(path).outputs), list[tuple[str, ...]]()
    for problem, (metric, mode) in PUBLISHED.items():
        for optimizer in sorted({run.optimizer_name for run in outputs if run.testproblem == problem}):
            curves: dict[float, dict[int, list[float]]] = {}
            for run in outputs:
                if (run.testproblem, run.optimizer_name) == (problem, optimizer) and run.random_seed == 42:
                    curves[run.learning_rate or 0.0] = {42: list(run.metrics[metric])}
            whole = (len(curves) + 9) * 100
            grid = replay(curves, Grid(), epochs=100, fresh=9, mode=mode)  # type: ignore[arg-type]
            halving = replay(curves, Halving(), epochs=100, fresh=10, mode=mode)  # type: ignore[arg-type]
            final = {rate: by_seed[42][-1] for rate, by_seed in curves.items()}
            numbers = [value for value in final.values() if math.isfinite(value)]
            chosen = [float(found.best) for found in (grid, halving)]  # type: ignore[arg-type]  # a rate
            order = sorted(numbers, reverse=mode == "max")
            shares = [f"{found.epochs / whole:.1%}" for found in (grid, halving)]
            values = [f"{final[rate]:.5g}" for rate in chosen]
            place = str(1 + order.index(final[chosen[1]]))
            rows.append((f"{problem} {optimizer}", *shares, *(f"{r:.3g}" for r in chosen), *values, place))
    head = (
        "final metric on seed 42",
        "grid",
        "halving",
        "grid's lr",
        "halving's",
        "grid's value",
        "halving's",
        "place",
    )
    table("b. The same on DeepOBS' published curves: share of 4,500 epochs, and what is chosen", head, rows)


# ------------------------------------------------------------------ c: more processes


def compare_growth(counts: list[int], repeats: int, epochs: int, folder: Path) -> None:
    rows: list[tuple[str, ...]] = []
    names = itertools.count()
    with WarmProcess() as process:
        for task in ("quadratic_deep", "digits_logreg"):
            ways = [(count, replicas) for count in counts for replicas in ("off", "auto")]
            took: dict[tuple[int, str], list[float]] = {way: [] for way in ways}
            reports: dict[tuple[int, str], TaskReport] = {}
            for _, (count, replicas) in itertools.product(range(repeats), ways):
                space = {LR: {"low": 1e-4, "high": 1e-2, "log": True, "points": 16}}
                settings = {"space": space, "rerun_seeds": [], "processes": count, "replicas": replicas}
                more = {"tune": settings, "output": str(folder / f"growth{next(names)}"), "evaluate": {}}
                began = time.perf_counter()
                report: StudyReport = tune(description(task, budget={"epochs": epochs}, **more), warm=process)
                took[count, replicas].append(time.perf_counter() - began)
                reports[count, replicas] = report.tasks[0]
            first = statistics.median(took[ways[0]])
            for way in ways:
                middle = statistics.median(took[way])
                same = [each.number for each in reports[way].standings] == [
                    each.number for each in reports[ways[0]].standings
                ]
                cells = (f"{middle:.2f}", f"{first / middle:.2f}", "yes" if same else "NO")
                rows.append((f"{task}, {way[0]} process{'es' * (way[0] > 1)}, replicas {way[1]}", *cells))
    head = (f"16 runs of {epochs} epochs", "wall s", "faster", "same ranking")
    table(f"c. More processes and replicas, on {len(os.sched_getaffinity(0))} cores, n = {repeats}", head, rows)


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["loop", "study", "growth"], help="loop, study, growth; unset: all")
    parser.add_argument("--data", type=Path, default=None, help="folder with MNIST, Fashion-MNIST, deepobs_baselines")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100, help="of the runs of the study; DeepOBS has 100")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    versions = f"regimen {regimen.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    print(f"{versions}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    with scratch() as folder:
        if "loop" in asked.parts:
            compare_loops(asked.data, asked.repeats, folder)
        if "study" in asked.parts:
            compare_protocols(asked.epochs, folder)
            if asked.data:
                compare_replayed(asked.data)
        if "growth" in asked.parts:
            compare_growth(asked.processes, asked.repeats, asked.epochs, folder)
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
