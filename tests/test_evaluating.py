"""Evaluators: a supernet's are those of one pass an architecture, bit for bit, and looking changes nothing."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from regimen.errors import SpecError
from regimen.nas.evaluating.batchnorm import batch_norms
from regimen.nas.evaluating.kept import Kept
from regimen.nas.evaluating.standalone import StandaloneEvaluator
from regimen.nas.evaluating.supernet_evaluator import SupernetEvaluator
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Supernet

ROWS, CALIBRATION, SIZE = 44, 30, 16
"""Neither fits into whole batches."""


def convolution(channels: int, kernel: int) -> nn.Module:
    """Writes into its inputs first, as many published blocks do."""
    parts = [nn.ReLU(inplace=True), nn.Conv2d(channels, channels, kernel, padding=kernel // 2)]
    return nn.Sequential(*parts, nn.BatchNorm2d(channels))


class Sum(nn.Module):
    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = inputs + self.part(inputs.clone()).relu()
        return outputs


def skips_last(architecture: Architecture) -> Architecture:
    """Layers 1 and 2 in a form in which a skip comes last: for a network, the order of a skip does not matter."""
    first, *pair, last = architecture
    return (first, *(reversed(pair) if pair[0] == 0 else pair), last)


def make_supernet(canonical: bool = False, kind: type[Supernet] = Supernet) -> Supernet:
    torch.manual_seed(3)
    more: dict[str, Any] = {"canonical": skips_last} if canonical else {}
    space = Space("tiny", (2, 3, 3, 2), **more)
    stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4))
    layers: list[list[nn.Module]] = [
        [Sum(convolution(4, 1)), convolution(4, 3)],
        [nn.Identity(), convolution(4, 1), Sum(convolution(4, 3))],
        [nn.Identity(), convolution(4, 1), Sum(convolution(4, 3))],
        [convolution(4, 1), Sum(convolution(4, 1))],
    ]
    head = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 5))
    net = kind(space, stem, layers, head)
    for norm in batch_norms(net):  # statistics as a mixture of paths leaves them
        torch.nn.init.normal_(norm.running_mean, std=0.3)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return net


class NoChain(Supernet):
    def stages(self, architecture: Architecture) -> None:
        return None


def data() -> tuple[Tensor, Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, 1, 4, 4, generator=made)
    return inputs, torch.randint(5, (ROWS,), generator=made), torch.randn(CALIBRATION, 1, 4, 4, generator=made)


def straightforward(net: Supernet, architecture: Architecture, mode: str) -> tuple[float, list[Tensor]]:
    """One network of its own, one pass over the rows: (accuracy, all logits)."""
    inputs, targets, calibration = data()
    net = copy.deepcopy(net).eval()
    net.set_activate_architecture(architecture)
    size = ROWS if mode == "batch" else SIZE
    with torch.no_grad():
        if mode != "running":
            for norm in batch_norms(net):
                norm.train()
                norm.reset_running_stats()
                norm.momentum = None
        if mode == "recalibrated":
            for rows in calibration.tensor_split(2):
                net(rows)
            net.eval()
        logits = [net(rows) for rows in inputs.split(size)]
    right = sum(int((out.argmax(1) == t).sum()) for out, t in zip(logits, targets.split(size), strict=True))
    return right / ROWS, logits


@functools.cache
def remembered(architecture: Architecture, mode: str) -> tuple[float, list[Tensor]]:
    return straightforward(make_supernet(), architecture, mode)


def make_evaluator(net: Supernet, mode: Any, **more: Any) -> SupernetEvaluator:
    inputs, targets, calibration = data()
    size = None if mode == "batch" else SIZE
    return SupernetEvaluator(net, inputs, targets, normalization=mode, calibration=calibration, batch_size=size, **more)


MODES = ("recalibrated", "batch", "running")
architectures = st.tuples(*(st.integers(0, size - 1) for size in (2, 3, 3, 2)))


@given(
    generations=st.lists(st.lists(architectures, min_size=1, max_size=8), min_size=1, max_size=3),
    mode=st.sampled_from(MODES),
    memory=st.tuples(*[st.sampled_from([0, 8 * 2**10, 64 * 2**20])] * 2),
    chain=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_tree_is_one_pass_an_architecture(
    generations: list[list[Architecture]], mode: str, memory: tuple[int, int], chain: bool
) -> None:
    """To the last bit of every logit, whatever was looked at before, and however little is kept of it."""
    net = make_supernet(kind=Supernet if chain else NoChain)
    seen: list[Tensor] = []

    def scores(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(outputs)
        return outputs.argmax(dim=1) == targets

    evaluator = make_evaluator(net, mode, scores=scores, memory_mib=1)
    for number, kept in enumerate((*evaluator._kept, *evaluator._kept_calibration)):
        kept.max_bytes = memory[number % 2]  # nothing, a few activations, which go and come, or all
    for population in generations:
        seen.clear()
        expected = {each: remembered(each, mode) for each in set(population)}
        assert evaluator.evaluate(population) == [expected[each][0] for each in population]
        every = [logits for _, batches in expected.values() for logits in batches]
        assert all(any(torch.equal(found, logits) for logits in every) for found in seen)


def test_recalibrated_statistics_are_the_mean_over_the_batches() -> None:
    """Computed here from the inputs of each norm, without torch's own running statistics."""
    net, (_, _, calibration) = make_supernet(), data()
    evaluator = make_evaluator(net, "recalibrated")
    evaluator.evaluate([(0, 2, 1, 1), (1, 0, 1, 0)])
    prefix = ((-1,), (0, 0), (1, 2))
    (found,) = evaluator._moments[prefix]
    means, variances = [], []
    with torch.no_grad():
        for rows in calibration.tensor_split(2):
            lone = copy.deepcopy(net).train()
            lone.set_activate_architecture((0, 2, 1, 1))
            norm = batch_norms(lone.layers[1][2])[0]  # type: ignore[index]
            norm.register_forward_pre_hook(lambda _, given: means.append(given[0].mean((0, 2, 3))))
            norm.register_forward_pre_hook(lambda _, given: variances.append(given[0].var((0, 2, 3), unbiased=True)))
            lone(rows)
    torch.testing.assert_close(found.mean, torch.stack(means).mean(0))
    torch.testing.assert_close(found.variance, torch.stack(variances).mean(0))


def snapshot(net: Supernet) -> dict[str, Any]:
    norms = [(n.momentum, n.track_running_stats) for n in batch_norms(net)]
    modes = [module.training for module in net.modules()]
    state = {key: (id(tensor), tensor.clone()) for key, tensor in [*net.named_parameters(), *net.named_buffers()]}
    return {"norms": norms, "modes": modes, "state": state, "is": (net.state, net.tau, id(net.active))}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [Supernet, NoChain])
def test_looking_changes_nothing(mode: str, kind: type[Supernet]) -> None:
    net = make_supernet(kind=kind).train()
    net.set_forward_state("softmax", tau=0.5)
    net.set_activate_architecture((1, 2, 0, 1))
    net.layers[1].eval()  # as somebody has set it
    before = snapshot(net)
    evaluator = make_evaluator(net, mode)
    evaluator.evaluate([(0, 0, 0, 0), (1, 2, 2, 1)])

    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_evaluator(net, mode, scores=broken).evaluate([(0, 0, 0, 0)])
    after = snapshot(net)
    for key, (where, value) in before.pop("state").items():
        assert after["state"][key][0] == where
        assert torch.equal(after["state"][key][1], value)
    assert all(after[key] == value for key, value in before.items())


def test_networks_are_looked_at_once() -> None:
    """In all calls, and in all forms of the same network."""
    net = make_supernet(canonical=True)
    evaluator = make_evaluator(net, "recalibrated")
    first = evaluator.evaluate([(0, 0, 2, 1), (0, 2, 0, 1), (0, 0, 2, 1)])
    assert first[0] == first[1] == first[2] == straightforward(net, (0, 2, 0, 1), "recalibrated")[0]
    rows = evaluator.rows_through.copy()
    assert rows[(-1,)] == ROWS + CALIBRATION
    assert evaluator.evaluate([(0, 0, 2, 1)]) == first[:1]
    assert evaluator.rows_through == rows


def test_a_child_costs_only_what_is_new() -> None:
    evaluator = make_evaluator(make_supernet(), "recalibrated")
    evaluator.evaluate([(0, 2, 1, 1)])
    before = evaluator.rows_through.copy()
    evaluator.evaluate([(0, 2, 1, 0)])
    assert evaluator.rows_through - before == {(3, 0): ROWS + CALIBRATION, (-2,): ROWS + CALIBRATION}


def test_after_training_nothing_old_is_believed() -> None:
    net = make_supernet()
    evaluator = make_evaluator(net, "recalibrated")
    evaluator.evaluate([(0, 0, 0, 0), (1, 1, 1, 1)])
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    net.train()
    nn.functional.cross_entropy(net(data()[0]), data()[1]).backward()
    optimizer.step()
    expected = [straightforward(net, each, "recalibrated")[0] for each in [(0, 0, 0, 0), (1, 1, 1, 1)]]
    assert evaluator.evaluate([(0, 0, 0, 0), (1, 1, 1, 1)]) == expected


def test_what_is_not_finite_cannot_be_judged() -> None:
    net = make_supernet()
    with torch.no_grad():
        net.layers[3][1].part[1].weight.fill_(math.nan)  # type: ignore[index]
    good, bad = make_evaluator(net, "running").evaluate([(0, 0, 0, 0), (0, 0, 0, 1)])
    assert math.isfinite(good)
    assert math.isnan(bad)


def test_batch_norms_that_keep_no_statistics_are_recalibrated_too() -> None:
    net, twin = make_supernet(), make_supernet()
    for norm in batch_norms(twin):
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    every = list(net.space.everything())
    assert make_evaluator(net, "recalibrated").evaluate(every) == make_evaluator(twin, "recalibrated").evaluate(every)


def test_recalibration_needs_rows() -> None:
    inputs, targets, _ = data()
    with pytest.raises(SpecError, match=r"calibration.*batch.*running"):
        SupernetEvaluator(make_supernet(), inputs, targets)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8)), max_size=30))
def test_kept_stays_within_its_bytes(puts: list[tuple[int, int]]) -> None:
    kept = Kept(40)
    for key, size in puts:
        kept.put(key, torch.zeros(size))
        held = [found for found in map(kept.get, range(6)) if found is not None]
        assert sum(tensor.nbytes for tensor in held) == kept.num_bytes <= 40
        assert kept.get(key) is not None
    assert Kept(0).put("any", torch.zeros(1)) is None
    assert Kept(0).get("any") is None


# ---------------------------------------------------------------------- trained alone


def test_each_network_is_trained_once_a_seed_and_an_interrupted_comparison_goes_on() -> None:
    space = Space("tiny", (2, 3, 3, 2), canonical=skips_last)
    calls: list[tuple[Architecture, int]] = []

    def train(architecture: Architecture, seed: int) -> float:
        calls.append((architecture, seed))
        return math.nan if architecture[0] else sum(architecture) + seed

    def stop_after_three() -> None:
        if len(calls) == 3:
            raise KeyboardInterrupt

    wanted: list[Architecture] = [(0, 0, 2, 1), (0, 2, 0, 1), (0, 1, 1, 1), (1, 1, 1, 1)]
    first = StandaloneEvaluator(space, train, seeds=(0, 1), after_each=stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        first.evaluate(wanted)
    second = StandaloneEvaluator(space, train, seeds=(0, 1))
    second.load_state_dict(first.state_dict())
    found = second.evaluate(wanted)
    assert found[:3] == [3.5, 3.5, 3.5]
    assert math.isnan(found[3])
    assert len(calls) == len(set(calls)) == 6
    assert second.by_seed[(0, 2, 0, 1)] == {0: 3.0, 1: 4.0}
