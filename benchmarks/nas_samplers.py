"""Samplers compared by how well their supernets rank networks, at the same number of forward and backward passes.

    python benchmarks/nas_samplers.py [--samplers NAME|./mine.py ...] [--passes 1500 4500] [--seeds 5] [--report]

Digits, the space `chain`. For each seed, every sampler starts from the same weights and sees the same batches in the
same order; one that trains several paths on a batch sees fewer of them. The truth is the test accuracy of random
networks that are trained alone; a supernet judges the same networks on the rows for searching, each with batch norm
statistics of its own, and once more with those that training left. What was measured is in `--folder`: a comparison
that was stopped goes on, and `--report` says what is there. A sampler of your own is compared with ours by the path of
its file.

Prints tables and sentences in Markdown, and draws the figure into `--folder`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

import regimen
from regimen.analysis.samplers import SamplerComparison, compare_samplers
from regimen.analysis.samplersfigure import samplers_figure
from regimen.execute import prepare
from regimen.handle import Run
from regimen.nas.agreement import kendall
from regimen.nas.alone import Alone
from regimen.nas.costing import cost_table
from regimen.nas.evaluating.batchnorm import Normalization
from regimen.nas.evaluating.supernet_evaluator import SupernetEvaluator
from regimen.nas.ranking import ranking_report
from regimen.nas.sampler import Sampler
from regimen.nas.space import Architecture
from regimen.nas.supernet import Supernet
from regimen.nas.supernettask import SupernetTask
from regimen.nas.training import Trained
from regimen.randomness import derived_generator
from regimen.records.writer import replace_file

SAMPLERS: dict[str, dict[str, Any]] = {
    "uniform": {"name": "uniform"},
    "uniform, 3 paths a step": {"name": "uniform", "paths": 3},
    "fair, strict": {"name": "fair"},
    "fair, a path a step": {"name": "fair", "strict": False},
    "sandwich": {"name": "sandwich"},
    "sandwich, no teacher": {"name": "sandwich", "distill": False},
    "gumbel": {"name": "gumbel"},
}
TASK = {"name": "digits", "supernet": {"space": "chain"}}
EPOCHS_ALONE = 20
CALIBRATION_ROWS = 512
MODES: tuple[Normalization, ...] = ("recalibrated", "running")


class Trial(NamedTuple):
    """A supernet: which one, and how it was trained."""

    sampler: str
    passes: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.sampler} | {self.passes} | {self.seed}"


class Measured:
    """What was measured so far, in a file that is written after each training."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "measured.json"
        about = {"regimen": regimen.__version__, "torch": torch.__version__, "task": TASK, "epochs": EPOCHS_ALONE}
        self.data: dict[str, Any] = {"about": about, "alone": {}, "supernets": {}}
        if self.path.exists():
            self.data = json.loads(self.path.read_text())
            if self.data["about"] != about:
                raise SystemExit(f"{self.path} was measured with {self.data['about']}, this is {about}: delete it.")

    def keep(self, part: str, key: str, value: Any) -> None:
        self.data[part][key] = value
        replace_file(self.path, json.dumps(self.data, indent=1).encode())

    def has(self, part: str, key: str) -> bool:
        return key in self.data[part]


class Ground:
    """The task, the networks that are ranked, and how both kinds of training are looked at."""

    def __init__(self, number: int, folder: Path, measured: Measured) -> None:
        self.common = {"task": TASK, "threads": 1, "output": str(folder / "runs")}
        prepared = prepare({**self.common, "strategy": {"name": "uniform"}, "budget": {"epochs": EPOCHS_ALONE}})
        assert isinstance(prepared.task, SupernetTask)
        assert isinstance(prepared.strategy, Sampler)
        self.task, self.folder, self.measured = prepared.task, folder, measured
        self.settings, splits = prepared.spec, self.task.splits
        self.alone = Alone(prepared.strategy, self.task, splits.train, splits.valid, torch.device("cpu"))
        every = list(self.task.space.make_supernet(self.task.inputs()).space.everything())
        chosen = np.random.default_rng(0).permutation(len(every))[:number]
        self.networks: list[Architecture] = [every[place] for place in chosen]

    def train_alone(self, trainings: int) -> None:
        """Each network once for each of `trainings` seeds: accuracy on the rows for searching and on the test rows."""
        for seed in range(trainings):
            for network in self.networks:
                key = alone_key(network, seed)
                if self.measured.has("alone", key):
                    continue
                run = Run.unrecorded(self.folder, self.settings)
                run.seed = 1000 + seed
                model = self.alone.trained(network, run)
                splits = self.task.splits
                found = [self.alone.looked_at(model, rows)[1] for rows in (splits.valid, splits.test)]
                self.measured.keep("alone", key, dict(zip(("valid", "test"), found, strict=True)))

    def train_supernet(self, trial: Trial) -> None:
        """A run as any user starts it; then all networks judged with its weights."""
        if self.measured.has("supernets", trial.key):
            return
        strategy = {**SAMPLERS.get(trial.sampler, {"name": trial.sampler}), "search": None, "retrain": None}
        began = time.process_time()
        record = regimen.run(
            {
                **self.common,
                "strategy": strategy,
                "budget": {"passes": trial.passes},
                "seed": trial.seed,
                "checkpoint": {"every": 10**6},
            }
        )
        seconds = time.process_time() - began
        splits, inputs = self.task.splits, self.task.inputs()
        model = Trained(self.task.space.make_supernet(inputs), None)
        model.load_state_dict(load_file(record.folder / "artifacts" / "supernet.safetensors"))
        assert isinstance(model.network, Supernet)
        rows = self.task.augment(splits.train.inputs[:CALIBRATION_ROWS], derived_generator(0, "calibration"))
        judged = {
            mode: SupernetEvaluator(
                model.network, splits.valid.inputs, splits.valid.classes, normalization=mode, calibration=rows
            ).evaluate(self.networks)
            for mode in MODES
        }
        steps = max(point.step for point in record.curve("train/loss"))
        self.measured.keep("supernets", trial.key, {**judged, "seconds": seconds, "steps": steps})

    def costs(self) -> dict[str, NDArray[np.float64]]:
        """(N,) by name: what ranks networks for nothing."""
        names = {"parameters": "params", "multiply-adds": "mmac"}
        return {
            name: cost_table(self.task.space, self.task.inputs(), unit).of(self.networks)  # type: ignore[arg-type]
            for name, unit in names.items()
        }


def alone_key(network: Architecture, seed: int) -> str:
    return f"{'-'.join(map(str, network))} | {seed}"


# ------------------------------------------------------------------------------------------------------- report


def truths(ground: Ground, trainings: int) -> dict[str, NDArray[np.float64]]:
    """(networks, trainings) by rows that were judged."""
    alone = ground.measured.data["alone"]
    return {
        rows: np.array(
            [[alone[alone_key(network, seed)][rows] for seed in range(trainings)] for network in ground.networks]
        )
        for rows in ("valid", "test")
    }


def complete(ground: Ground, trials: list[Trial]) -> list[Trial]:
    """Those of the seeds that were measured for all samplers."""
    missing = {trial.seed for trial in trials if not ground.measured.has("supernets", trial.key)}
    return [trial for trial in trials if trial.seed not in missing]


def compared(ground: Ground, trials: list[Trial], truth: NDArray[np.float64], mode: str) -> SamplerComparison:
    supernets = ground.measured.data["supernets"]
    names = dict.fromkeys(trial.sampler for trial in trials)
    estimates = {
        name: np.array([supernets[trial.key][mode] for trial in trials if trial.sampler == name]) for name in names
    }
    return compare_samplers(estimates, truth, ground.costs())


def by_mode(ground: Ground, trials: list[Trial], truth: NDArray[np.float64]) -> list[str]:
    """What batch norms of its own are worth to each sampler."""
    supernets, found = ground.measured.data["supernets"], []
    for name in dict.fromkeys(trial.sampler for trial in trials):
        own = [supernets[trial.key] for trial in trials if trial.sampler == name]
        (pair,) = compare_samplers({mode: np.array([each[mode] for each in own]) for mode in MODES}, truth).pairs
        found.append(f"- {name}: {pair.kendall}")
    return found


def table(comparison: SamplerComparison, ground: Ground, trials: list[Trial]) -> list[str]:
    supernets = ground.measured.data["supernets"]
    rows = [
        "| sampler | updates | CPU s | tau-b | of each seed | accuracy with its weights | regret of its choice |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in comparison.results:
        own = [supernets[trial.key] for trial in trials if trial.sampler == result.name]
        seconds = float(np.median([each["seconds"] for each in own]))
        seeds = " ".join(f"{tau:.2f}" for tau in result.by_seed)
        regret = f"{result.regret.mean:.3f} ({result.regret.low:.3f} to {result.regret.high:.3f})"
        rows.append(
            f"| {result.name} | {own[0]['steps']:,} | {seconds:.0f} | {result.kendall} | {seeds} | {result.mean} "
            f"| {regret} |"
        )
    return rows


def pair_table(comparison: SamplerComparison) -> list[str]:
    rows = ["| pair | difference of tau-b | p | corrected p |", "|---|---|---|---|"]
    rows += [
        f"| {pair.first} - {pair.second} | {pair.kendall} | {shown(pair.p)} | {shown(pair.corrected_p)} |"
        for pair in sorted(comparison.pairs, key=lambda pair: pair.p)
    ]
    return rows


def shown(p: float) -> str:
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def report(ground: Ground, trials: list[Trial], trainings: int) -> None:
    truth = truths(ground, trainings)
    found = {}
    means = truth["test"].mean(axis=1)
    print(f"{len(means)} networks, {trainings} trainings each: {means.min():.3f} to {means.max():.3f}")
    if trainings > 1:
        print(f"test accuracy of one training with that of another: tau {kendall(*truth['test'].T[:2]):.3f}")
        print(f"valid accuracy of one training with test accuracy of another: tau {other_rows(truth):.3f}")
    for name, cost in ground.costs().items():
        print(f"counting {name}: tau {ranking_report(cost, means).estimates.kendall}")
    for passes in dict.fromkeys(trial.passes for trial in trials):
        own = complete(ground, [trial for trial in trials if trial.passes == passes])
        if len({trial.seed for trial in own}) < 2:
            print(f"\n{passes:,} passes: two seeds of all samplers are needed, and are not there yet.")
            continue
        print(f"\n{passes:,} passes, tau {MODES[0]} minus {MODES[1]}:", *by_mode(ground, own, truth["test"]), sep="\n")
        for mode in MODES:
            comparison = compared(ground, own, truth["test"], mode)
            print(f"\n## {passes:,} passes, batch norm {mode}\n", *table(comparison, ground, own), sep="\n")
            print("", *(f"- {sentence}" for sentence in comparison.sentences()), sep="\n")
            if mode == MODES[0]:
                print("", *pair_table(comparison), sep="\n")
                found[f"{passes:,} passes"] = comparison
    if found:
        path = ground.folder / "samplers.svg"
        replace_file(path, (samplers_figure(found) + "\n").encode())
        print(f"\n{path}")


def other_rows(truth: dict[str, NDArray[np.float64]]) -> float:
    """What a supernet that knew one training could reach: it judges other rows than those of the truth."""
    numbers = range(truth["test"].shape[1])
    pairs = [(one, other) for one in numbers for other in numbers if one != other]
    return float(np.mean([kendall(truth["valid"][:, one], truth["test"][:, other]) for one, other in pairs]))


def main() -> None:
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("--samplers", nargs="+", default=list(SAMPLERS), metavar="NAME")
    read.add_argument("--passes", nargs="+", type=int, default=[1500, 4500])
    read.add_argument("--seeds", type=int, default=5)
    read.add_argument("--networks", type=int, default=64)
    read.add_argument("--trainings", type=int, default=2)
    read.add_argument("--folder", type=Path, default=Path("runs/nas_samplers"))
    read.add_argument("--report", action="store_true", help="train nothing")
    given = read.parse_args()
    torch.set_num_threads(1)
    measured = Measured(given.folder)
    ground = Ground(given.networks, given.folder, measured)
    trials = [
        Trial(sampler, passes, seed)
        for passes in given.passes
        for seed in range(given.seeds)
        for sampler in given.samplers
    ]
    if not given.report:
        ground.train_alone(given.trainings)
        for trial in trials:
            ground.train_supernet(trial)
            print(trial.key, flush=True)
    report(ground, trials, given.trainings)


if __name__ == "__main__":
    main()
