"""Measures what the architectures of a space cost, and keeps what was measured.

Multiply-adds are those of convolutions, linear layers and attention's products, counted in one forward pass of each
choice. Milliseconds are the median of many passes of one row after a warm-up; the cost of a
network is the sum of its pieces, so what is saved or lost by running them together is not in it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from regimen.errors import Problem, Refused
from regimen.nas.cost import Cost, CostTable, Unit
from regimen.nas.jointcost import JointCost, Table
from regimen.nas.searchspace import Inputs, SearchSpace
from regimen.nas.space import Architecture
from regimen.nas.supernet import Part, Supernet

ROUNDS, WARM_UP = 22, 3
"""Passes of every piece for milliseconds, in turns, and those before that do not count."""


_FORMAT = 1
"""Of the kept tables; to be raised when they would be measured otherwise."""


class Measured(NamedTuple):
    """The cost of one piece, and by how much a second measurement of it is larger."""

    cost: float
    difference: float = 0.0


def cost_table(
    of: SearchSpace | Supernet,
    inputs: Inputs,
    unit: Unit,
    *,
    cache: Path | None = None,
    device: torch.device | str | None = None,
) -> CostTable | JointCost:
    """What each choice adds to the cost of a network, for one row of `inputs`.

    `params` are those of networks, not of the supernet. `device` matters for `ms` of a space alone (unset: the CPU); a
    supernet is timed where it is. With `cache`, a folder, the table is read from there if it was measured before for
    the same modules, inputs, device and version of torch; a damaged file is measured again. The supernet and torch's
    generator stay as they are.
    """
    with torch.random.fork_rng(devices=[]):
        net = of if isinstance(of, Supernet) else of.make_supernet(inputs).to(device or "cpu")
        row = torch.zeros(1, *inputs[:3], device=next(net.parameters()).device)
        file = cache / f"costs-{_key(net, inputs, unit, row.device)}.json" if cache else None
        if file and (kept := _read(file, net, unit)) is not None:
            return kept
        with torch.no_grad(), _evaluating(net):
            parts = list(net.parts(row))
            pieces = {(id(part.module), id(part.inputs)): part for part in parts}
            measured = dict(zip(pieces, _measure(list(pieces.values()), unit), strict=True))
    found = _summed([(part, measured[id(part.module), id(part.inputs)]) for part in parts], net.space.sizes, unit)
    if file:
        _write(file, found)
    return found


# ------------------------------------------------------------------------------------------------------ measuring


def _measure(parts: Sequence[Part], unit: Unit) -> Iterable[Measured]:
    if unit == "params":
        return [Measured(sum(parameter.numel() for parameter in part.module.parameters())) for part in parts]
    if unit == "mmac":
        return [Measured(multiply_adds(part.module, part.inputs) / 1e6) for part in parts]
    return _timed(parts)


def multiply_adds(module: nn.Module, inputs: Tensor) -> int:
    """Of one forward pass: convolutions, linear layers, products of matrices."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(inputs)
    return int(counter.get_total_flops()) // 2


def _timed(parts: Sequence[Part]) -> list[Measured]:
    """In turns, so that a busy moment of the machine does not fall on one piece alone; every other round is the second
    measurement.
    """
    times_RP = np.array([[_milliseconds(part) for part in parts] for _ in range(WARM_UP + ROUNDS)])[WARM_UP:]
    costs, first, second = (np.median(times, axis=0) for times in (times_RP, times_RP[::2], times_RP[1::2]))
    return [Measured(*map(float, piece)) for piece in zip(costs, second - first, strict=True)]


def _milliseconds(part: Part) -> float:
    on_gpu = part.inputs.device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize(part.inputs.device)
    began = time.perf_counter()
    part.module(part.inputs)
    if on_gpu:
        torch.cuda.synchronize(part.inputs.device)
    return 1e3 * (time.perf_counter() - began)


def _summed(parts: Sequence[tuple[Part, Measured]], sizes: tuple[int, ...], unit: Unit) -> CostTable | JointCost:
    """The table, with the most by which the two measurements of any architecture differ as its spread."""
    low, high = _added([(part, measured.difference) for part, measured in parts], sizes, unit).reach()
    return replace(
        _added([(part, measured.cost) for part, measured in parts], sizes, unit), spread=max(abs(low), abs(high))
    )


def _added(parts: Sequence[tuple[Part, float]], sizes: tuple[int, ...], unit: Unit) -> CostTable | JointCost:
    base = 0.0
    costs: dict[tuple[int, ...], NDArray[np.float64]] = {}
    for part, cost in parts:
        if part.positions:
            shape = [sizes[position] for position in part.positions]
            costs.setdefault(part.positions, np.zeros(shape))[part.choices] += cost
        else:
            base += cost
    if all(len(positions) == 1 for positions in costs):
        return CostTable(unit, base, tuple(costs.get((place,), np.zeros(size)) for place, size in enumerate(sizes)))
    return JointCost(unit, base, tuple(Table(*item) for item in sorted(costs.items())), sizes)


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """With running statistics, which are not moved; afterwards each module is as it was."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


# -------------------------------------------------------------------------------------------------------- keeping


def _key(net: Supernet, inputs: Inputs, unit: Unit, device: torch.device) -> str:
    """What a table is of: every module with its sizes, the inputs, and for times the machine and its threads."""
    machine: list[str] = []
    if unit == "ms":
        chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
        machine = [device.type, chip, platform.machine(), str(torch.get_num_threads())]
    space = [net.space.name, repr(net.space.sizes), repr(net.space.choices), type(net).__qualname__, repr(net)]
    parts = [str(_FORMAT), *space, repr(tuple(inputs)), unit, torch.__version__, *machine]
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]


def _write(file: Path, cost: CostTable | JointCost) -> None:
    named = {"unit": cost.unit, "base": cost.base, "spread": cost.spread}
    tables = [{"positions": list(t.positions), "costs": t.costs.tolist()} for t in _tables(cost)]
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, suffix=".tmp") as beside:
        json.dump({**named, "tables": tables}, beside)
    Path(beside.name).replace(file)  # whoever measures the same at once never reads half a file


def _read(file: Path, net: Supernet, unit: Unit) -> CostTable | JointCost | None:
    try:
        found = json.loads(file.read_text())
        tables = tuple(Table(tuple(t["positions"]), np.array(t["costs"], dtype=np.float64)) for t in found["tables"])
        base, spread = float(found["base"]), float(found["spread"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if any(len(table.positions) != 1 for table in tables):
        return JointCost(unit, base, tables, net.space.sizes, spread)
    return CostTable(unit, base, tuple(table.costs for table in tables), spread)


# ---------------------------------------------------------------------------------------------------------- using


def expected_from(cost: CostTable | JointCost, arch_params: Sequence[Tensor]) -> Tensor:
    """The mean cost where each place is chosen by the softmax of its row of architecture parameters: a scalar that can
    be differentiated. `arch_params` is one row a place, (1, K) or (K,), as supernets keep them.
    """
    return expected_cost(cost, [parameters.reshape(-1).softmax(dim=0) for parameters in arch_params])


def expected_cost(cost: CostTable | JointCost, probabilities: Sequence[Tensor]) -> Tensor:
    """The mean cost where place l takes its choices with `probabilities[l]`, (K_l,); a scalar, differentiable."""
    first = probabilities[0]
    total = first.new_tensor(cost.base)
    for positions, costs in _tables(cost):
        part = torch.as_tensor(costs, dtype=first.dtype, device=first.device)
        for position in positions:
            part = torch.tensordot(probabilities[position], part, dims=1)
        total = total + part
    return total


def compare(cost: Cost, first: Architecture, second: Architecture) -> int:
    """-1 where the first costs less, 1 where it costs more, 0 where both are the same architecture or counted equal.

    Raises `Refused` where their measured costs lie nearer than measurements of one of them do.
    """
    one, other = cost.of([first, second])
    if first != second and cost.spread and abs(one - other) < cost.spread:
        text = f"{one:g} and {other:g} {cost.unit} differ by less than {cost.spread:g}, the spread of the measurements."
        raise Refused(Problem("cost", text, "Compare by mmac or params, or measure on a quiet machine."))
    return int(np.sign(one - other))


def _tables(cost: CostTable | JointCost) -> Iterator[Table]:
    if isinstance(cost, JointCost):
        yield from cost.tables
    else:
        yield from (Table((place,), layer) for place, layer in enumerate(cost.layers))
