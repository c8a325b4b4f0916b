"""Proxies that need no training: what their papers say, and a refusal where they are blind."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regimen.errors import Refused
from regimen.nas.evaluating.zero_cost import PROXIES, ZeroCostEvaluator, jacob_cov, naswot, snip, synflow
from regimen.nas.space import Architecture, Space


def two_layers() -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
    return net, torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])


def test_proxies_are_what_their_papers_say() -> None:
    """Each against a direct computation for two linear layers."""
    net, inputs, targets = two_layers()
    first, _, _, second = net
    w1, w2, b1 = (t.detach().double().abs() for t in (first.weight, second.weight, first.bias))
    ones = torch.ones(6, dtype=torch.float64)
    # Weights of a layer, times their gradients, sum to what flows through it.
    flow = float((w2 @ (w1 @ ones + b1)).sum() + (w2 @ (w1 @ ones)).sum())
    assert synflow(net, inputs, targets) == pytest.approx(flow)

    lone = copy.deepcopy(net)
    nn.functional.cross_entropy(lone(inputs), targets).backward()
    expected = sum(float((m.weight.detach() * m.weight.grad).abs().sum()) for m in (lone[0], lone[3]))
    assert snip(net, inputs, targets) == pytest.approx(expected, rel=1e-5)

    on = (copy.deepcopy(net)[:2](inputs) > 0).numpy()
    kernel = np.array([[(a == b).sum() for b in on] for a in on])
    assert naswot(net, inputs, targets) == pytest.approx(np.linalg.slogdet(kernel)[1])

    jacobian = torch.autograd.functional.jacobian(lambda rows: copy.deepcopy(net)(rows).sum(), inputs)
    values = np.linalg.eigvalsh(np.corrcoef(jacobian.numpy()))
    assert jacob_cov(net, inputs, targets) == pytest.approx(
        -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5)), rel=1e-2
    )


@pytest.mark.parametrize("proxy", PROXIES)
def test_proxies_judge_all_networks_of_a_space_and_leave_the_generator_alone(proxy: str) -> None:
    inputs, targets = torch.randn(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 5

    def make_network(architecture: Architecture) -> nn.Module:
        torch.rand(1)
        layers = [
            nn.Sequential(nn.Conv2d(2, 2, 2 * k + 1, padding=k), nn.BatchNorm2d(2), nn.ReLU()) for k in architecture
        ]
        return nn.Sequential(nn.Conv2d(1, 2, 1), *layers, nn.Flatten(), nn.Linear(32, 5))

    space = Space("kernels", (2, 2))
    every = list(space.everything())
    before = torch.get_rng_state()
    evaluator = ZeroCostEvaluator(space, make_network, proxy, inputs, targets, seeds=(0, 1))
    found = evaluator.evaluate(every)
    assert all(map(math.isfinite, found))
    assert len(set(found)) == 4
    assert torch.equal(before, torch.get_rng_state())
    again = ZeroCostEvaluator(space, make_network, proxy, inputs, targets, seeds=(0, 1))
    assert again.evaluate(every[::-1]) == found[::-1]


def test_proxies_that_cannot_judge_say_so() -> None:
    net, inputs, targets = two_layers()
    with pytest.raises(Refused, match="naswot"):
        naswot(nn.Linear(6, 3), inputs, targets)
    assert math.isnan(jacob_cov(nn.Sequential(net, nn.Flatten(), nn.Linear(3, 3)).apply(_zero), inputs, targets))
    same = ZeroCostEvaluator(Space("one", (1,)), lambda _: two_layers()[0], "naswot", inputs[:1].repeat(5, 1), targets)
    assert math.isnan(same.evaluate([(0,)])[0])
    with pytest.raises(Refused, match="synflow, snip, jacob_cov, naswot"):
        ZeroCostEvaluator(Space("one", (1,)), lambda _: net, "synflw", inputs, targets)


def _zero(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.weight)
