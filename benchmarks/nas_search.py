"""Judging architectures of a supernet here, beside the straightforward way: a loader pass an architecture.

    python benchmarks/nas_search.py [population] [costs] [evolution] [--repeats 5]

population  64 random and all 243 networks of the digits space, on the same weights and rows, by turns; the accuracies
            must be the same to the last bit. The straightforward way is OSNASLib's: for each architecture a DataLoader
            with batches of 128, and loss, top 1 and top 5 of each batch read from the device. Beside it, what is left
            of the ratio when it reads accuracy alone, in batches as large as ours; and both with batch norms that are
            recalibrated for each architecture, which OSNASLib does not do.
costs       1,000 look-ups of a cost on the SPOS space: OSNASLib's way is a sum over one-hot tensors, choice by choice;
            beside it a loop over lists of floats
evolution   850 evaluations of a genetic search on the SPOS space: the multiply-adds of the stages that were computed,
            against those of all 850 networks, with room for all activations and with less. What is good is an additive
            function with noise, as a table would give it; the stages are counted, and run on one row.

All ratios are medians of the repeats; times are CPU seconds of one thread. Ends with 1 where one is below what is
promised.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from regimen.nas.cost import CostTable
from regimen.nas.costing import cost_table, multiply_adds
from regimen.nas.evaluating.batchnorm import Normalization, batch_norms
from regimen.nas.evaluating.supernet_evaluator import SupernetEvaluator
from regimen.nas.searcher import SearchProblem
from regimen.nas.searching import Search
from regimen.nas.searchspace import Inputs
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Supernet
from regimen.searchers.genetic import GeneticSearcher
from regimen.spaces.chain import Chain
from regimen.spaces.spos import SPOS
from regimen.tasks.supernets import Digits

ROWS, CALIBRATION = 1000, 500
LOADER_BATCH = 128
ROOM_MIB = (0, 16, 64, 128, 1024)
"""For activations of one row; 0 shares within a generation alone, the last holds all."""
PROMISED = {"64 random": 5.0, "all 243": 7.0, "1,000 costs": 500.0, "850 evaluations": 1.6}


class Turns(NamedTuple):
    """Median CPU seconds of both ways."""

    straightforward_s: float
    ours_s: float

    @property
    def ratio(self) -> float:
        return self.straightforward_s / self.ours_s


def by_turns(
    straightforward: Callable[[], list[float]], ours: Callable[[], list[float]], repeats: int
) -> tuple[Turns, list[float], list[float]]:
    """A B A B ...; the first turn of each is not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats + 1):
        found = []
        for way, seconds in zip((straightforward, ours), times, strict=True):
            began = time.process_time()
            found.append(way())
            seconds.append(time.process_time() - began)
    return Turns(*(statistics.median(seconds[1:]) for seconds in times)), found[0], found[1]


# ---------------------------------------------------------------------------------------------------- population


class Rows(NamedTuple):
    inputs: Tensor
    classes: Tensor
    calibration: Tensor


def digits() -> Rows:
    """1,000 rows to judge on and 500 to recalibrate with, of all splits: the task's own 300 would be over too soon."""
    task = Digits()
    splits = task.splits
    inputs = torch.cat([part.inputs for part in (splits.valid, splits.test, splits.train)])
    classes = torch.cat([part.classes for part in (splits.valid, splits.test, splits.train)])
    inputs = torch.cat([inputs[:897], task.augment(inputs[897:], np.random.default_rng(0))])
    return Rows(inputs[:ROWS], classes[:ROWS], inputs[ROWS : ROWS + CALIBRATION])


def trained_supernet(rows: Rows) -> Supernet:
    """A few hundred single paths, so that the networks differ."""
    torch.manual_seed(0)
    net = Chain().make_supernet(Inputs(1, 8, 8, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    draw = np.random.default_rng(0)
    for _ in range(300):
        net.set_activate_architecture(net.space.random(draw))
        some = torch.from_numpy(draw.integers(0, ROWS, 64))
        optimizer.zero_grad()
        F.cross_entropy(net(rows.inputs[some]), rows.classes[some]).backward()
        optimizer.step()
    return net.eval()


def recalibrate(net: Supernet, rows: Rows) -> None:
    """As it is usually written: reset, a pass in training mode, back to evaluation mode."""
    for norm in batch_norms(net):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for (inputs,) in DataLoader(TensorDataset(rows.calibration), batch_size=CALIBRATION):
        net(inputs)
    net.eval()


@torch.no_grad()
def a_pass_each(
    net: Supernet, architectures: Sequence[Architecture], rows: Rows, batch: int, recalibrated: bool, lean: bool
) -> list[float]:
    """`lean` reads the number of hits alone."""
    loader = DataLoader(TensorDataset(rows.inputs, rows.classes), batch_size=batch)
    found = []
    for architecture in architectures:
        net.set_activate_architecture(architecture)
        if recalibrated:
            recalibrate(net, rows)
        loss, top1, top5 = 0.0, 0, 0
        for inputs, classes in loader:
            outputs = net(inputs)
            if lean:
                top1 += int((outputs.argmax(dim=1) == classes).sum().item())
                continue
            hit = outputs.topk(5, dim=1).indices == classes[:, None]
            loss += F.cross_entropy(outputs, classes).item() * len(classes)
            top1 += int(hit[:, 0].sum().item())
            top5 += int(hit.sum().item())
        found.append(top1 / ROWS)
    return found


def population(repeats: int) -> dict[str, float]:
    rows = digits()
    net, loaded = trained_supernet(rows), trained_supernet(rows)  # the loader's way writes statistics into its net
    every = list(net.space.everything())
    some = [every[number] for number in np.random.default_rng(1).choice(len(every), 64, replace=False)]
    promised: dict[str, float] = {}
    print(f"{ROWS} digits, milliseconds an architecture; ours in one batch")
    for mode in ("running", "recalibrated"):
        for name, chosen in (("64 random", some), ("all 243", every)):
            for batch, lean in ((LOADER_BATCH, False), (ROWS, True)):
                turns = compared(net, loaded, chosen, rows, mode, batch, lean, repeats)
                each = [1e3 * seconds / len(chosen) for seconds in turns]
                way = f"loader of {batch}, " + ("hits alone" if lean else "loss, top 1, top 5")
                print(f"  {mode:13}{name:10} {way:32} {each[0]:6.2f}   ours {each[1]:5.2f}   {turns.ratio:5.2f}x")
                if mode == "running" and not lean:
                    promised[name] = turns.ratio
    print("  all accuracies the same to the last bit")
    return promised


def compared(
    net: Supernet,
    loaded: Supernet,
    chosen: list[Architecture],
    rows: Rows,
    mode: Normalization,
    batch: int,
    lean: bool,
    repeats: int,
) -> Turns:
    def ours() -> list[float]:
        evaluator = SupernetEvaluator(
            net,
            rows.inputs,
            rows.classes,
            normalization=mode,
            calibration=rows.calibration,
            batch_size=ROWS,
            memory_mib=0,
        )
        return evaluator.evaluate(chosen)

    turns, expected, found = by_turns(
        lambda: a_pass_each(loaded, chosen, rows, batch, mode == "recalibrated", lean), ours, repeats
    )
    assert len(set(expected)) > 10, "the networks do not differ"
    assert found == expected, f"{sum(a != b for a, b in zip(found, expected, strict=True))} accuracies differ"
    return turns


# --------------------------------------------------------------------------------------------------------- costs


def costs(repeats: int) -> dict[str, float]:
    space = SPOS()
    table = cost_table(space, Inputs(3, 32, 32, 10), "mmac")
    assert isinstance(table, CostTable)
    sizes = space.make_supernet(Inputs(3, 32, 32, 10)).space.sizes
    many_NL = np.random.default_rng(0).integers(0, sizes, size=(1000, len(sizes)))
    lists = [layer.tolist() for layer in table.layers]

    def one_hot() -> list[float]:
        found = []
        for architecture in torch.from_numpy(many_NL):
            parts: list[Tensor] = []
            for row, layer in zip(F.one_hot(architecture, max(sizes)), lists, strict=True):
                parts.extend(weight * cost for weight, cost in zip(row, layer, strict=True))
            found.append(float(sum(parts)) + table.base)
        return found

    def floats() -> list[float]:
        return [sum(lists[i][choice] for i, choice in enumerate(each)) + table.base for each in many_NL.tolist()]

    def ours() -> list[float]:
        for _ in range(100):  # the clock is too coarse for one
            found = table.of(many_NL)
        return [float(cost) for cost in found]

    print("1,000 costs of the SPOS space, milliseconds")
    ratios = []
    for name, way in (("one-hot tensors, as OSNASLib", one_hot), ("lists of floats", floats)):
        turns, expected, found = by_turns(way, ours, repeats)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        ratios.append(100 * turns.ratio)
        print(f"  {name:32} {1e3 * turns.straightforward_s:8.2f}   ours {10 * turns.ours_s:6.3f}   {ratios[-1]:7.0f}x")
    return {"1,000 costs": ratios[0]}


# ----------------------------------------------------------------------------------------------------- evolution


class Additive:
    """Quality as a sum over layers, with noise of a tenth of its spread; remembers what it was asked for."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self.draw = np.random.default_rng(seed)
        self.effects = [self.draw.normal(size=size) for size in space.sizes]
        self.asked: list[list[Architecture]] = []

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        self.asked.append(list(architectures))
        noise = 0.1 * len(self.effects) ** 0.5
        return [
            float(sum(effect[choice] for effect, choice in zip(self.effects, each, strict=True)))
            + noise * float(self.draw.normal())
            for each in architectures
        ]


def evolution(repeats: int) -> dict[str, float]:
    """Generations of 40 children of the 10 best, 850 different networks: nothing is saved by evaluating one twice."""
    torch.manual_seed(0)
    space, inputs = SPOS(), Inputs(3, 32, 32, 10)
    net = space.make_supernet(inputs).eval()
    stages = stage_macs(net, inputs)
    ratios: dict[int, list[float]] = {}
    for seed in range(repeats):
        quality = Additive(net.space, seed)
        searcher = GeneticSearcher()
        searcher.population, searcher.parents, searcher.queries = 40, 10, 850
        problem = SearchProblem(net.space)
        Search(searcher, problem, quality, np.random.default_rng(seed)).run()
        generations = quality.asked
        assert sum(map(len, generations)) == 850
        whole = sum(stages[key] for each in generations for one in each for key, _ in net.stages(one) or [])
        for mib in ROOM_MIB:
            ratios.setdefault(mib, []).append(whole / computed_macs(net, generations, stages, mib))
    print(f"850 evaluations on the SPOS space, {repeats} searches: multiply-adds that are saved")
    for mib, found in ratios.items():
        print(f"  {mib:4} MiB a row {statistics.median(found):5.2f}x   ({min(found):.2f} to {max(found):.2f})")
    return {"850 evaluations": statistics.median(ratios[max(ratios)])}


def stage_macs(net: Supernet, inputs: Inputs) -> dict[tuple[int, ...], float]:
    """Millions for one row, by stage; convolutions and linear layers."""
    table = cost_table(net, inputs, "mmac")
    assert isinstance(table, CostTable)
    stem = multiply_adds(net.stem, torch.zeros(1, *inputs[:3])) / 1e6
    found: dict[tuple[int, ...], float] = {(-1,): stem, (-2,): table.base - stem}
    for layer, row in enumerate(table.layers):
        found |= {(layer, choice): float(cost) for choice, cost in enumerate(row)}
    return found


def computed_macs(
    net: Supernet, generations: list[list[Architecture]], stages: dict[tuple[int, ...], float], mib: int
) -> float:
    evaluator = SupernetEvaluator(
        net, torch.zeros(1, 3, 32, 32), torch.zeros(1, dtype=torch.long), normalization="running", memory_mib=0
    )
    evaluator._kept[0].max_bytes = mib * 2**20
    for generation in generations:
        evaluator.evaluate(generation)
    return sum(rows * stages[key] for key, rows in evaluator.rows_through.items())


def main() -> int:
    parts: dict[str, Callable[[int], dict[str, float]]] = {
        "population": population,
        "costs": costs,
        "evolution": evolution,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(parts))
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    kept = True
    for name in given.parts or parts:
        for what, ratio in parts[name](given.repeats).items():
            kept &= ratio >= PROMISED[what]
            print(f"{what}: {ratio:.2f}x, promised {PROMISED[what]:g}x")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
