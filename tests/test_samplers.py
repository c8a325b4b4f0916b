"""Samplers: fair windows, gradients of several paths, drawn paths, ranges of costs, and stops between two steps."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import regimen
from regimen.criteria.cross_entropy import CrossEntropyLoss
from regimen.errors import Refused, SpecError, Stopped, StrategyFailed
from regimen.execute import prepare, resume
from regimen.handle import Run
from regimen.nas.cost import Cost, CostTable, Limit, Range
from regimen.nas.costing import cost_table
from regimen.nas.extremes import extremes
from regimen.nas.images import PictureBatches, Pictures
from regimen.nas.jointcost import JointCost, Table
from regimen.nas.sampler import Path as TrainedPath
from regimen.nas.sampler import Sampler
from regimen.nas.searchproblem import SearchProblem
from regimen.nas.searchspace import Inputs
from regimen.nas.space import Space
from regimen.nas.supernet import Supernet
from regimen.nas.training import Learning, Trained, train_supernet
from regimen.optim import OptimizerSettings, Schedule
from regimen.registry import find
from regimen.spaces.chain import Chain
from regimen.spec import RunSettings
from regimen.strategies.nas.fair import FairnessSampler
from regimen.strategies.nas.within_cost import WithinCost
from tiny_runs import only_run

TINY = {"name": "digits", "supernet": {"space": {"name": "chain", "widths": [4, 6], "stride_at": [1]}}}
SHAPE = Inputs(1, 8, 8, 10)
RATE = 0.1


def description(**strategy: Any) -> dict[str, Any]:
    search = {"name": "random", "queries": 3}
    return {
        "task": TINY,
        "strategy": {"name": "uniform", "search": search, "retrain": None, "batch_size": 16, **strategy},
        "budget": {"steps": 4},
        "threads": 1,
    }


def make(name: str, **given: Any) -> Any:
    plugin = find(name, ["nas"], Path("nowhere"))
    return plugin.make(plugin.settings()(**given))


def toy(sizes: tuple[int, ...]) -> Supernet:
    layers = [[nn.Linear(2, 2) for _ in range(size)] for size in sizes]
    return Supernet(Space("toy", sizes), nn.Identity(), layers, nn.Identity())


def chain() -> Supernet:
    torch.manual_seed(0)
    space = Chain()
    space.widths, space.stride_at = [4, 6, 6], [1]
    return space.make_supernet(SHAPE)


# ------------------------------------------------------------------ what is planned


@pytest.mark.parametrize("strict", [True, False])
def test_fair_windows_hold_every_choice_of_every_layer_once(strict: bool) -> None:
    sampler = FairnessSampler()
    sampler.strict = strict
    sampler.attach(toy((3, 3, 3)), np.random.default_rng(0))
    paths = [path for step in range(12) for path in sampler.plan(step)]
    for start in range(0, len(paths) - 2, 3):
        for layer in range(3):
            assert sorted(path.architecture[layer] for path in paths[start : start + 3]) == [0, 1, 2]  # type: ignore[index]


def test_a_layer_with_fewer_choices_begins_again() -> None:
    sampler = FairnessSampler()
    sampler.attach(toy((2, 3)), np.random.default_rng(0))
    paths = [path.architecture for step in range(4) for path in sampler.plan(step)]
    assert Counter(path[0] for path in paths if path) == {0: 6, 1: 6}
    assert Counter(path[1] for path in paths if path) == {0: 4, 1: 4, 2: 4}


def test_each_choice_is_as_likely_in_a_uniform_path() -> None:
    sampler = make("uniform")
    sampler.attach(toy((2, 3)), np.random.default_rng(0))
    paths = [path.architecture for step in range(1_200) for path in sampler.plan(step)]
    counts = Counter(paths)
    assert set(counts) == {(a, b) for a in range(2) for b in range(3)}
    assert all(abs(number - 200) < 5 * 13 for number in counts.values())  # five deviations of a binomial


@pytest.mark.parametrize("by", ["params", "mmac"])
def test_a_sandwich_has_the_largest_and_the_smallest_around_random_ones(by: str) -> None:
    ready = prepare(description(name="sandwich", by=by, random=3))
    sampler: Any = ready.strategy
    net = sampler.looked_at(ready.task)
    sampler.attach(net, np.random.default_rng(0))
    paths = sampler.plan(0)
    costs = sampler.cost_of(ready.task, by).of(list(net.space.everything()))
    found = sampler.cost_of(ready.task, by).of([path.architecture for path in paths])
    assert (found[0], found[1], len(paths)) == (costs.max(), costs.min(), 5)
    assert [path.distill_from for path in paths] == [None, 0, 0, 0, 0]
    assert {path.weight for path in paths} == {1.0}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), joint=st.booleans())
def test_the_extremes_are_those_of_all_architectures(seed: int, joint: bool) -> None:
    draw = np.random.default_rng(seed)
    sizes = tuple(int(size) for size in draw.integers(1, 4, 4))
    cost: CostTable | JointCost = CostTable("params", 1.0, tuple(draw.random(size) for size in sizes))
    if joint:
        places = [(0,), (0, 1), (0, 2), (1, 3), (2,)]
        tables = tuple(Table(each, draw.random([sizes[place] for place in each])) for each in places)
        cost = JointCost("params", 1.0, tables, sizes)
    every = cost.of(list(Space("toy", sizes).everything()))
    smallest, largest = extremes(cost)
    assert cost.of([smallest, largest]) == pytest.approx([every.min(), every.max()])


# ------------------------------------------------------------------ what one step does, in the one loop


def one_step(
    sampler: Sampler, net: Supernet, folder: Path, before: Callable[[int], None] = lambda step: None
) -> tuple[Pictures, dict[str, Tensor]]:
    """Trains one step of plain SGD without clipping; the batch, and how far each parameter went against its gradient,
    divided by the rate.
    """
    model, start = Trained(net, None), {name: p.detach().clone() for name, p in net.named_parameters()}
    draw = torch.Generator().manual_seed(1)
    rows = Pictures(torch.randn(16, 1, 8, 8, generator=draw), torch.arange(16) % 10)
    batches = PictureBatches(rows, 16, 0, lambda inputs, _: inputs, torch.device("cpu"))
    run = Run.unrecorded(folder, RunSettings.model_validate({"budget": {"steps": 1}, "threads": 1}))
    optimizer = OptimizerSettings.model_validate({"name": "sgd", "lr": RATE})
    schedule = Schedule(name="constant", warmup=0)
    learning = Learning(run, CrossEntropyLoss(), optimizer, schedule, None, torch.device("cpu"))
    train_supernet(learning, model, sampler, batches, lambda: {}, {}, before)
    (batch,) = batches.epoch(0)
    return batch, {name: (start[name] - p.detach()) / RATE for name, p in net.named_parameters()}


def gradients_of(net: Supernet, path: TrainedPath, batch: Pictures, taught: Tensor | None = None) -> dict[str, Tensor]:
    """Of one path's own mean loss; no entry for what it does not use."""
    assert path.architecture is not None
    net.set_forward_state("single")
    net.set_activate_architecture(path.architecture)
    outputs = net(batch.inputs)
    loss = F.cross_entropy(outputs, batch.classes if taught is None else taught.softmax(dim=1))
    names, parameters = zip(*net.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name: gradient for name, gradient in zip(names, found, strict=True) if gradient is not None}


def summed(parts: list[dict[str, Tensor]], like: Supernet) -> dict[str, Tensor]:
    return {
        name: sum((part[name] for part in parts if name in part), torch.zeros_like(parameter))
        for name, parameter in like.named_parameters()
    }


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient.detach(), rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gradient_of_a_strictly_fair_step_is_the_sum_of_its_paths(seed: int, tmp_path: Path) -> None:
    samplers = [make("fair"), make("fair")]
    nets = [chain(), chain()]
    for sampler, net in zip(samplers, nets, strict=True):
        sampler.attach(net, np.random.default_rng(seed))
    batch, moved = one_step(samplers[0], nets[0], tmp_path)
    parts = [gradients_of(nets[1], path, batch) for path in samplers[1].plan(0)]
    assert len(parts) == 3
    in_layers = [name for name, _ in nets[1].named_parameters() if name.startswith("layers.")]
    assert {sum(name in part for part in parts) for name in in_layers} == {1}
    assert_same(moved, summed(parts, nets[1]))


@pytest.mark.parametrize("distill", [True, False])
def test_the_smaller_ones_of_a_sandwich_learn_from_the_largest_and_teach_it_nothing(
    distill: bool, tmp_path: Path
) -> None:
    samplers, nets = [make("sandwich", distill=distill), make("sandwich", distill=distill)], [chain(), chain()]
    for sampler, net in zip(samplers, nets, strict=True):
        sampler.attach(net, np.random.default_rng(3))
        sampler.between((0, 0, 0), (1, 1, 1))
    batch, moved = one_step(samplers[0], nets[0], tmp_path)
    largest, *others = samplers[1].plan(0)
    nets[1].set_activate_architecture(largest.architecture)
    taught = nets[1](batch.inputs).detach() if distill else None
    parts = [gradients_of(nets[1], largest, batch), *(gradients_of(nets[1], each, batch, taught) for each in others)]
    assert_same(moved, summed(parts, nets[1]))


def test_what_a_searcher_learns_in_follows_from_the_step(tmp_path: Path) -> None:
    """Before the first step, too, and so after a resume."""
    sampler, net = make("gumbel", tau=3.0), chain()
    sampler.attach(net, np.random.default_rng(0))
    seen: list[Any] = []
    one_step(sampler, net, tmp_path, lambda step: seen.append((step, net.state, net.tau)))
    assert seen == [(0, "gumbel_softmax", 3.0)]


# ------------------------------------------------------------------ one drawn path


def supernet_of(name: str) -> tuple[Supernet, Tensor]:
    torch.manual_seed(0)
    if name == "elastic_lora":
        plugin = find("lora_ranks", ["task"])
        task = plugin.make(plugin.settings()(supernet={"space": {"name": name, "ranks": [1, 3]}}))
        net = task.space.make_supernet(task.inputs())
        nn.init.normal_(net.elastic[0][0].lora_B)
        return net, torch.randint(0, 256, (2, 5))
    plugin = find(name, ["space"])
    given = {"nas_bench_201": {"channels": 4, "cells": 1}, "chain": {"widths": [4, 6, 6]}}.get(name, {})
    return plugin.make(plugin.settings()(**given)).make_supernet(SHAPE), torch.randn(4, 1, 8, 8)


@pytest.mark.parametrize("name", ["chain", "nas_bench_201", "elastic_lora"])
def test_a_drawn_path_computes_what_the_single_path_does_bit_for_bit(name: str) -> None:
    net, inputs = supernet_of(name)
    net.initialize_arch_param()
    used: list[nn.Module] = []
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, *_: used.append(module))
    for seed in range(4):
        net.set_forward_state("gumbel_single", tau=0.7)
        torch.manual_seed(seed)
        chosen = [drawn.choice for drawn in net.draw()]
        torch.manual_seed(seed)
        used.clear()
        outputs, computed = net(inputs), list(used)
        net.set_forward_state("single")
        net.set_activate_architecture(chosen)
        used.clear()
        assert torch.equal(net(inputs), outputs)
        assert used == computed  # nothing besides


def test_the_gradient_of_a_drawn_path_is_that_of_its_probabilities() -> None:
    """By hand: the loss changes with the weight of layer l as <gradient at its output, its output>, and the weight with
    the parameters as a softmax.
    """
    net, inputs, tau = *supernet_of("chain"), 0.9
    rows = [torch.randn(3).requires_grad_() for _ in range(3)]
    net.set_arch_param(rows)
    net.set_forward_state("gumbel_single", tau=tau)
    torch.manual_seed(5)
    net(inputs).square().sum().backward()
    torch.manual_seed(5)
    noise = [-torch.empty(3).exponential_().log() for _ in range(3)]
    outputs, kept = net.stem(inputs), []
    soft = [((row.detach() + each) / tau).softmax(0) for row, each in zip(rows, noise, strict=True)]
    for layer, weights in enumerate(soft):
        outputs = net.choices_of(layer)[int(weights.argmax())](outputs)
        outputs.retain_grad()
        kept.append(outputs)
    net.head(outputs).square().sum().backward()
    for row, weights, output in zip(rows, soft, kept, strict=True):
        slope = (output.grad * output.detach()).sum()
        chosen = int(weights.argmax())
        wanted = slope * weights[chosen] * (F.one_hot(torch.tensor(chosen), 3) - weights) / tau
        assert row.grad is not None
        torch.testing.assert_close(row.grad, wanted, rtol=1e-3, atol=1e-5)


def test_gdas_with_differentiable_search_finds_what_helps() -> None:
    layers = [[Scaled(factor) for factor in (-1.0, 0.1, 1.0)]]
    net = Supernet(Space("toy", (3,)), nn.Identity(), layers)
    sampler = make("gdas", decay=0.98)
    torch.manual_seed(0)
    sampler.attach(net, np.random.default_rng(0))
    plugin = find("differentiable", ["searcher"])
    searcher = plugin.make(plugin.settings()(lr=0.05))
    searcher.begin(SearchProblem(net.space), np.random.default_rng(0))
    searcher.attach(net)
    for step in range(100):
        (path,) = sampler.plan(step)
        net.set_forward_state(path.forward, path.tau)
        searcher.observe(lambda: -net(torch.ones(4, 1)).mean())
    assert searcher.ask() == [(2,)]


class Scaled(nn.Module):
    """Its inputs times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.factor * inputs


@pytest.mark.parametrize(
    ("name", "space", "said"),
    [
        ("gdas", "autoformer", "needs the forward state gumbel_single; autoformer has single"),
        ("gdas", "sgnas", "needs the forward state gumbel_single; sgnas has"),
        ("gumbel", "autoformer", "needs the forward state gumbel_softmax"),
        ("differentiable", "autoformer", "needs the forward state softmax"),
    ],
)
def test_a_space_that_cannot_be_mixed_is_refused_before_anything_is_trained(name: str, space: str, said: str) -> None:
    task = {"name": "digits", "supernet": {"space": space}}
    with pytest.raises(Refused, match=said):
        regimen.run({**description(name=name), "task": task})


# ------------------------------------------------------------------ within a range of costs


@functools.cache
def counted() -> tuple[Supernet, Cost]:
    net = chain()
    return net, cost_table(net, SHAPE, "params")


def within(inner: dict[str, Any], low: float, high: float, seed: int) -> tuple[WithinCost, Cost, Supernet]:
    net, cost = counted()
    limits = {"min": {"params": low}, "max": {"params": high}}
    sampler: WithinCost = make("within_cost", sampler=inner, cost=limits)
    sampler.keep(SearchProblem(net.space, (Limit(cost, Range(low=low, high=high), "strategy.cost"),)))
    sampler.attach(net, np.random.default_rng(seed))
    return sampler, cost, net


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), part=st.floats(0.0, 0.7), name=st.sampled_from(["uniform", "fair"]))
def test_what_is_trained_never_leaves_the_range(seed: int, part: float, name: str) -> None:
    least, most = counted()[1].reach()
    low, high = (least, most - 1) if name == "fair" else (least + part * (most - least), most)
    sampler, cost, net = within({"name": name}, low, high, seed)
    for step in range(20):
        paths = sampler.plan(step)
        costs = cost.of([path.architecture for path in paths if path.architecture])
        assert low <= costs.min() <= costs.max() <= high
        if name == "fair":  # each plan is a whole window still
            for layer in range(3):
                assert sorted(path.architecture[layer] for path in paths) == [0, 1, 2]  # type: ignore[index]
    made = net.space.check(sampler.generate_training_architecture())
    assert low <= cost.of([made])[0] <= high


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cost": {"max": {"params": 10}}}, r"strategy.cost.params: wants 0 to 10.*chain have \d+ to \d+"),
        ({"cost": {}}, "strategy.cost: limits nothing"),
        (
            {"cost": {"max": {"params": 400}}, "sampler": {"name": "fair", "strict": False}},
            "strategy.sampler: is fair over several plans",
        ),
        ({"cost": {"max": {"params": 400}}, "sampler": "gumbel"}, "is gumbel, which adds all choices"),
        (
            {"cost": {"max": {"params": 200}}, "sampler": "sandwich", "tries": 50},
            "strategy.cost: holds none of 50 plans of sandwich. Widen it .architectures have",
        ),
        (
            {"cost": {"max": {"params": 400}}, "sampler": {"name": "uniform", "batch_size": 8}},
            "strategy.sampler.batch_size: has no effect.*Set strategy.batch_size",
        ),
    ],
)
def test_a_range_that_cannot_be_kept_is_refused_before_anything_is_trained(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        regimen.run(description(name="within_cost", **given))


def test_the_state_of_the_sampler_inside_is_kept() -> None:
    """In the middle of a fair window, which the next plans end."""
    samplers = [within({"name": "fair", "strict": False}, 1, 10**6, 0)[0] for _ in range(2)]
    for step in range(4):
        samplers[0].plan(step)
    samplers[1].load_state_dict(samplers[0].state_dict())
    assert [samplers[0].plan(step) for step in (4, 5)] == [samplers[1].plan(step) for step in (4, 5)]


def test_a_range_that_is_never_met_while_training_ends_with_a_reason() -> None:
    sampler, _, _ = within({"name": "uniform"}, 1, 2, 0)
    with pytest.raises(StrategyFailed, match=r"none of 1,000 plans of uniform for step 3 .*Widen it"):
        sampler.plan(3)
    with pytest.raises(StrategyFailed, match=r"none of 1,000 architectures of uniform"):
        sampler.generate_training_architecture()


# ------------------------------------------------------------------ stopping

ALL = [
    {"name": "uniform", "paths": 2},
    {"name": "fair"},
    {"name": "fair", "strict": False},
    {"name": "sandwich", "random": 1},
    {"name": "differentiable", "search": {"name": "differentiable", "queries": 2}},
    {"name": "gumbel", "decay": 0.8, "search": {"name": "differentiable", "queries": 2}},
    {"name": "gdas", "decay": 0.8, "search": {"name": "differentiable", "queries": 2}},
    {"name": "gdas"},
    {"name": "within_cost", "cost": {"max": {"mmac": 0.03}}},
    {"name": "within_cost", "cost": {"max": {"mmac": 1.0}}, "sampler": {"name": "fair"}},
]


@pytest.mark.parametrize("given", ALL, ids=lambda given: "-".join(map(str, given.values()))[:40])
def test_stopped_between_two_steps_it_ends_as_if_left_alone(given: dict[str, Any], tmp_path: Path) -> None:
    """Step 5 is the middle of a window of three paths."""
    asked = {**description(**given), "budget": {"steps": 8}, "log": {"every": 1}, "evaluate": {"every": 3}}
    whole = regimen.run({**asked, "output": "whole"})
    monitored = {**asked, "output": "stopped"}
    with pytest.raises(Stopped):
        regimen.run(monitored, listeners=[stopping_at_in(Path("stopped"), 5)])
    folder = only_run(Path("stopped"))
    record = resume(folder)
    assert record.resumes == [5]
    assert record.identity == whole.identity
    for name in ("supernet.safetensors", "search.json"):
        kept = [each.folder / "artifacts" / name for each in (whole, record)]
        assert kept[0].read_bytes() == kept[1].read_bytes(), name


def stopping_at_in(folder: Path, step: int) -> Callable[[Any], None]:
    def listen(event: Any) -> None:
        if getattr(event, "step", 0) == step and "train/loss" in getattr(event, "values", ()):
            (only_run(folder) / "stop").touch()

    return listen


# ------------------------------------------------------------------ what cannot be meant


def test_a_limit_out_of_reach_is_refused_before_anything_is_trained() -> None:
    search = {"name": "evolution", "cost": {"max": {"params": 10}}}
    with pytest.raises(Refused, match=r"strategy.search.cost.params.*architectures of chain have"):
        regimen.run(description(search=search))


def test_a_sampler_needs_a_supernet() -> None:
    with pytest.raises(Refused, match="a sampler trains supernets, and quadratic_deep has none"):
        regimen.run({**description(), "task": "quadratic_deep"})


@pytest.mark.parametrize(
    ("more", "strategy", "said"),
    [
        ({"evaluate": {"max_rows": 5}}, {}, "evaluate.max_rows: is 5, and architectures are judged on all rows"),
        ({}, {"search": None, "rank": 8}, "strategy.rank: is 8, and nothing is searched"),
        ({}, {"rank": 2}, "strategy.rank: is 2; fewer than 5 networks have no order"),
        ({}, {"batch_size": 10**5}, "strategy.batch_size: is 100000, and there are 900 rows to train on"),
    ],
)
def test_what_would_have_no_effect_or_come_to_nothing_is_refused(
    more: dict[str, Any], strategy: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        regimen.run({**description(**strategy), **more})


def test_a_layer_without_channels_is_a_wrong_setting() -> None:
    task = {"name": "digits", "supernet": {"space": {"name": "chain", "widths": [0, 4]}}}
    with pytest.raises(SpecError, match=r"task.supernet.space.widths.*0"):
        prepare({**description(), "task": task})
