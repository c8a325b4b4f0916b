"""Search spaces: sizes and costs as published, forward states against direct computations, and tables of costs."""

from __future__ import annotations

import functools
import itertools
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regimen import registry
from regimen.errors import Refused, SpecError
from regimen.nas.blocks.cell import EDGES
from regimen.nas.cost import Limit, Range
from regimen.nas.costing import compare, cost_table, expected_from, multiply_adds
from regimen.nas.jointcost import JointCost, Table
from regimen.nas.searchspace import Inputs, SearchSpace
from regimen.nas.space import Architecture
from regimen.nas.supernet import STATES, Supernet

# elastic_lora is a space of language models and has tests of its own.
SPACES = [plugin.name for plugin in registry.plugins("space") if plugin.name != "elastic_lora"]
CHAINS = ["chain", "fbnet_s", "fbnet_l", "proxylessnas", "spos", "mobilefacenet"]
SMALL = Inputs(3, 16, 16, 5)

# name: side, places, choices, log10 of architectures, supernet's parameters (M), multiply-adds of convolutions (M), and
# those of the linear layer, which OSNASLib leaves out. Measured there at 100 classes.
FACTS = {
    "fbnet_s": (32, 22, 9, 21.0, 10.6, (2.6, 40.2), 1504),
    "fbnet_l": (32, 22, 9, 21.0, 10.9, (3.3, 40.9), 1984),
    "proxylessnas": (32, 21, 7, 17.7, 15.0, (2.7, 47.0), 1280),
    "spos": (32, 20, 4, 12.0, 7.6, (21.2, 31.6), 1024),
    "sgnas": (32, 126, 4, 75.9, 4.4, (2.1, 47.0), 1280),
    "mobilefacenet": (112, 15, 7, 12.7, 5.2, (15.8, 426.7), 0),
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def make(name: str, **settings: object) -> SearchSpace:
    plugin = registry.find(name, ["space"])
    made: SearchSpace = plugin.make(plugin.settings()(**settings))
    return made


@functools.cache
def _built(name: str) -> Supernet:
    torch.manual_seed(0)
    net = make(name).make_supernet(SMALL)
    for module in net.modules():  # running statistics and slopes that are not those of a fresh layer
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return net


def supernet(name: str) -> Supernet:
    """Built once, in the state that evaluates."""
    net = _built(name)
    net.eval()
    net.set_forward_state("single")
    return net


def some(net: Supernet, number: int, seed: int = 0) -> list[Architecture]:
    generator = np.random.default_rng(seed)
    return [net.space.random(generator) for _ in range(number)]


def meta(name: str, inputs: Inputs, **settings: object) -> Supernet:
    with torch.device("meta"):
        return make(name, **settings).make_supernet(inputs)


# -------------------------------------------------------------------------------------------------- as published


@pytest.mark.parametrize("name", FACTS)
def test_sizes_and_costs_are_those_of_osnaslib(name: str) -> None:
    side, places, choices, log_size, num_parameters, reach, linear = FACTS[name]
    settings = {"input": "imagenet"} if name == "mobilefacenet" else {}
    inputs = Inputs(3, side, side, 100)
    net = make(name, **settings).make_supernet(inputs)
    assert net.space.sizes == (choices,) * places
    assert net.get_model_cfg_shape() == (places, choices)
    assert round(math.log10(net.space.num_architectures), 1) == log_size
    assert round(sum(parameter.numel() for parameter in net.parameters()) / 1e6, 1) == num_parameters
    ours = cost_table(net, inputs, "mmac").reach()
    theirs = [number - linear * 100 / 1e6 for number in ours]
    assert theirs == pytest.approx(reach, abs=0.051)


def test_nas_bench_201_has_the_benchmarks_costs() -> None:
    """15,625 cells; 10 classes: 73,306 parameters and 7.78305 M for cells that compute nothing, 1.53 M and 220.12 M at
    most, as the benchmark says."""
    inputs, space = Inputs(3, 32, 32, 10), make("nas_bench_201")
    net = space.make_supernet(inputs)
    assert net.space.num_architectures == 15_625
    assert len(net.net.body) == 17
    mmac, params = (cost_table(space, inputs, unit) for unit in ("mmac", "params"))
    assert params.reach() == (73_306, 1_531_546)
    assert mmac.reach() == pytest.approx((7.78305, 220.119), abs=1e-3)
    assert len({net.space.canonical(architecture) for architecture in net.space.everything()}) < 15_625


def test_autoformer_has_the_size_of_the_tiny_one() -> None:
    """5 to 10 M parameters, 1.2 to 2.3 G multiply-adds (paper: 5.7 M and 1.3 G for the one it found)."""
    inputs = Inputs(3, 224, 224, 1000)
    net = meta("autoformer", inputs, input="imagenet")
    assert net.space.sizes == (3, 3, *(2, 2) * 14)
    low, high = cost_table(net, inputs, "params").reach()
    assert 5.2e6 < low < 5.7e6 < high < 10.5e6
    assert high == sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("name", [name for name in SPACES if name not in ("chain", "autoformer", "nas_bench_201")])
def test_imagenet_sized_input_is_a_setting(name: str) -> None:
    side, last = (112, 16) if name == "mobilefacenet" else (224, 32)
    net = meta(name, Inputs(3, side, side, 10), input="imagenet")
    outputs = torch.empty(1, 3, side, side, device="meta")
    for _, stage in net.stages(next(net.space.everything()))[:-1]:
        outputs = stage(outputs)
    assert outputs.shape[-2:] == (side // last, side // last)


# ------------------------------------------------------------------------------------------------------- forward


@pytest.mark.parametrize("name", SPACES)
def test_a_network_with_the_supernets_weights_computes_the_same(name: str) -> None:
    net, inputs = supernet(name), torch.randn(2, 3, 16, 16)
    for architecture in some(net, 3):
        network = make(name).make_network(architecture, SMALL)
        fresh = [parameter.clone() for parameter in network.parameters()]
        network.load_state_dict(net.inherited(architecture))
        assert any(not torch.equal(a, b) for a, b in zip(fresh, network.parameters(), strict=True))
        net.set_activate_architecture(architecture)
        torch.testing.assert_close(network.eval()(inputs), net(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SPACES)
def test_canonical_forms_compute_the_same(name: str) -> None:
    net, inputs = supernet(name), torch.randn(2, 3, 16, 16)
    for architecture in some(net, 3):
        canonical = net.space.canonical(architecture)
        assert net.space.canonical(canonical) == canonical
        outputs = []
        for each in (architecture, canonical):
            net.set_activate_architecture(each)
            outputs.append(net(inputs))
        torch.testing.assert_close(*outputs)


def test_the_order_of_sgnas_groups_does_not_matter() -> None:
    net, inputs = supernet("sgnas"), torch.randn(2, 3, 16, 16)
    net.set_activate_architecture((3, 0, 2, 1, 3, 0) * 21)
    outputs = net(inputs)
    assert net.space.canonical(net.active) == (0, 0, 1, 2, 3, 3) * 21
    net.set_activate_architecture((0, 3, 0, 1, 2, 3) * 21)
    assert torch.equal(net(inputs), outputs)


@pytest.mark.parametrize("name", SPACES)
def test_stages_in_turn_are_the_single_path(name: str) -> None:
    net, inputs = supernet(name), torch.randn(2, 3, 16, 16)
    (architecture,) = some(net, 1)
    net.set_activate_architecture(architecture)
    stages = net.stages(architecture)
    if stages is None:
        assert name == "nas_bench_201"
        return
    outputs = inputs
    for _, stage in stages:
        outputs = stage(outputs)
    assert torch.equal(outputs, net(inputs))
    assert len({key for key, _ in stages}) == len(stages)


@pytest.mark.parametrize("name", SPACES)
def test_sum_with_one_weight_of_1_is_the_single_path(name: str) -> None:
    net, inputs = supernet(name), torch.randn(2, 3, 16, 16)
    if "sum" not in net.states:
        with pytest.raises(SpecError, match="is 'sum'; supernets of autoformer have single"):
            net.set_forward_state("sum")
        return
    architecture = net.space.canonical(some(net, 1)[0])
    net.set_activate_architecture(architecture)
    single = net(inputs)
    net.set_arch_param([torch.eye(size)[choice] for size, choice in zip(net.space.sizes, architecture, strict=True)])
    net.set_forward_state("sum")
    torch.testing.assert_close(net(inputs), single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("state", STATES[1:])
@pytest.mark.parametrize("name", [name for name in SPACES if name != "autoformer"])
def test_states_that_add_choices_against_a_direct_computation(name: str, state: str) -> None:
    net, inputs, tau = supernet(name), torch.randn(2, 3, 16, 16), 0.7
    net.set_arch_param([torch.randn(size) for size in net.space.sizes])
    net.set_forward_state(state, tau=tau)
    torch.manual_seed(1)
    found = net(inputs)
    torch.manual_seed(1)
    weights = [_direct_weights(row.flatten(), state, tau) for row in net.arch_params]
    direct = {"sgnas": _direct_sgnas, "nas_bench_201": _direct_cells}.get(name, _direct_chain)
    torch.testing.assert_close(found, direct(net, inputs, weights), rtol=1e-3, atol=1e-4)


def _direct_weights(row: Tensor, state: str, tau: float) -> Tensor:
    if state == "sum":
        return row
    if state == "gumbel_softmax":  # argument of the softmax: logits plus Gumbel noise, over the temperature
        row = (row - torch.empty_like(row).exponential_().log()) / tau
    return row.exp() / row.exp().sum()


def _direct_chain(net: Supernet, outputs: Tensor, weights: list[Tensor]) -> Tensor:
    outputs = net.stem(outputs)
    for layer, row in zip(net.layers, weights, strict=True):
        outputs = torch.einsum("k,kbchw->bchw", row, torch.stack([choice(outputs) for choice in layer]))
    return net.head(outputs)


def _direct_sgnas(net: Supernet, outputs: Tensor, weights: list[Tensor]) -> Tensor:
    """With all groups in one tensor, and one narrowing convolution, as the paper draws it."""
    outputs = net.stem(outputs)
    for number, layer in enumerate(net.unified):
        rows = weights[6 * number : 6 * number + 6]
        wide = torch.cat([widen(outputs) for widen in layer.widen], dim=1).chunk(6, dim=1)
        mixed = [
            sum(row[k] * kernels[k](part) for k in range(3))
            for row, kernels, part in zip(rows, layer.kernels, wide, strict=True)
        ]
        narrow = torch.cat([convolution.weight for convolution in layer.narrow], dim=1)
        total = nn.functional.conv2d(torch.cat(mixed, dim=1), narrow)
        zeros = min(6, max(0, round(float(sum(row[3] for row in rows)))))
        total = layer.norms[zeros](total)
        outputs = total + outputs if total.shape == outputs.shape else total
    return net.head(outputs)


def _direct_cells(net: Supernet, outputs: Tensor, weights: list[Tensor]) -> Tensor:
    outputs = net.net.stem(outputs)
    for module in net.net.body:
        if not hasattr(module, "edges"):
            outputs = module(outputs)
            continue
        nodes = [outputs]
        for node in (1, 2, 3):
            arriving = [(start, e) for e, (start, end) in enumerate(EDGES) if end == node]
            nodes.append(
                sum(weights[e][int(k)] * op(nodes[s]) for s, e in arriving for k, op in module.edges[e].items())
            )
        outputs = nodes[3]
    return net.net.head(outputs)


@pytest.mark.parametrize("name", SPACES)
def test_random_paths_train(name: str) -> None:
    """Steps on two pictures of one channel and of an odd size on the way move what is on the path, and only that."""
    net = make(name).make_supernet(Inputs(1, 28, 28, 5))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    inputs, targets = torch.randn(2, 1, 28, 28), torch.tensor([1, 3])
    for architecture in some(net, 3):
        before = {key: tensor.clone() for key, tensor in net.inherited(architecture).items()}
        net.set_activate_architecture(architecture)
        loss = nn.functional.cross_entropy(net(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        used = sum(parameter.numel() for parameter in net.parameters() if parameter.grad is not None)
        assert used <= sum(tensor.numel() for tensor in before.values()) or name == "autoformer"
        optimizer.step()
        assert math.isfinite(loss.item())
        assert any(not torch.equal(tensor, before[key]) for key, tensor in net.inherited(architecture).items())


@pytest.mark.parametrize("name", SPACES)
def test_a_path_learns(name: str) -> None:
    net = make(name).make_supernet(SMALL._replace(height=32, width=32))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
    inputs, targets = torch.randn(2, 3, 32, 32), torch.tensor([1, 3])
    net.set_activate_architecture(some(net, 1)[0])
    losses = []
    for _ in range(6):
        loss = nn.functional.cross_entropy(net(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", CHAINS)
def test_all_choices_of_a_layer_give_one_shape_for_odd_sizes_too(name: str) -> None:
    net = make(name).make_supernet(Inputs(1, 27, 25, 5)).eval()
    outputs = net.stem(torch.zeros(1, 1, 27, 25))
    for layer in net.layers:
        made = [choice(outputs) for choice in layer]
        assert len({each.shape for each in made}) == 1
        outputs = made[0]


def test_a_layer_without_any_group_still_makes_a_network() -> None:
    space = make("sgnas")
    network = space.make_network((3,) * 126, SMALL)
    assert torch.isfinite(network(torch.randn(2, 3, 16, 16))).all()


def test_pictures_smaller_than_a_patch_are_refused() -> None:
    with pytest.raises(SpecError, match="patches of 4 x 4 do not fit pictures of 3 x 8"):
        make("autoformer").make_supernet(Inputs(1, 3, 8, 10))


# --------------------------------------------------------------------------------------------------------- costs


@pytest.mark.parametrize("unit", ["mmac", "params"])
@pytest.mark.parametrize("name", SPACES)
def test_tables_give_what_networks_cost(name: str, unit: str) -> None:
    net = supernet(name)
    cost = cost_table(net, SMALL, unit)
    architectures = some(net, 3, seed=1)
    counted = []
    for architecture in architectures:
        network, row = make(name).make_network(architecture, SMALL).eval(), torch.zeros(1, 3, 16, 16)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        counted.append(parameters if unit == "params" else multiply_adds(network, row) / 1e6)
    assert cost.of(architectures) == pytest.approx(counted)
    assert cost.of(np.array(architectures)) == pytest.approx(counted)
    low, high = cost.reach()
    assert low <= min(counted) <= max(counted) <= high
    with pytest.raises(Refused, match="Choose a range that meets it"):
        Limit(cost, Range(low=high + 1)).check(net.space)


@pytest.mark.parametrize("name", ["chain", "autoformer"])
def test_reach_and_expected_costs_are_those_of_all_architectures(name: str) -> None:
    """Over every architecture of the chain, and over many of the joint table with sharp probabilities."""
    net = supernet(name)
    cost = cost_table(net, SMALL, "mmac")
    rows = [torch.randn(1, size, dtype=torch.float64, requires_grad=True) for size in net.space.sizes]
    probabilities = [row.detach().softmax(dim=1).flatten().numpy() for row in rows]
    expected = cost.expected(probabilities)
    assert expected_from(cost, rows).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda *given: expected_from(cost, given), rows)
    everything = np.array(list(net.space.everything())) if name == "chain" else np.array(some(net, 20_000))
    costs = cost.of(everything)
    if name == "chain":
        weights = np.prod([p[everything[:, place]] for place, p in enumerate(probabilities)], axis=0)
        assert expected == pytest.approx(float(weights @ costs))
        assert cost.reach() == pytest.approx((costs.min(), costs.max()))
    else:
        assert cost.expected([np.full(size, 1 / size) for size in net.space.sizes]) == pytest.approx(
            costs.mean(), abs=4 * costs.std() / len(costs) ** 0.5
        )
        smallest, largest = (cost.of([architecture])[0] for architecture in _extremes(net))
        assert cost.reach() == pytest.approx((smallest, largest))


def _extremes(net: Supernet) -> tuple[Architecture, Architecture]:
    return (0,) * len(net.space.sizes), tuple(size - 1 for size in net.space.sizes)


def test_the_reach_of_joint_costs_is_that_of_all_architectures() -> None:
    """Tables that want different choices at a shared place."""
    generator, sizes = np.random.default_rng(0), (3, 2, 3, 2)
    for _ in range(20):
        tables = [Table(at, generator.normal(size=[sizes[place] for place in at])) for at in ((0, 1), (0, 2), (3,))]
        cost = JointCost("mmac", 1.0, tuple(tables), sizes)
        costs = cost.of(list(itertools.product(*map(range, sizes))))
        assert cost.reach() == pytest.approx((costs.min(), costs.max()))


def test_measuring_changes_nothing() -> None:
    net = _built("chain")
    net.train()
    net.initialize_arch_param()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.random.get_rng_state()
    for unit in ("mmac", "params", "ms"):
        cost_table(net, SMALL, unit)
        cost_table(make("autoformer"), SMALL, unit)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(module.training for module in net.modules())


def test_tables_are_kept_under_what_they_are_of(tmp_path: Path) -> None:
    first = cost_table(make("chain"), SMALL, "mmac", cache=tmp_path)
    (file,) = tmp_path.iterdir()
    changed = json.loads(file.read_text()) | {"base": 7.0}
    file.write_text(json.dumps(changed))
    assert cost_table(make("chain"), SMALL, "mmac", cache=tmp_path).base == 7.0
    for damage in ("", "{}", '{"base": 1'):
        file.write_text(damage)
        assert cost_table(make("chain"), SMALL, "mmac", cache=tmp_path).base == first.base
    others = [
        cost_table(make("chain", widths=[8, 12, 12, 16, 20]), SMALL, "mmac", cache=tmp_path),
        cost_table(make("chain"), SMALL._replace(height=20), "mmac", cache=tmp_path),
        cost_table(make("chain"), SMALL, "params", cache=tmp_path),
        cost_table(make("autoformer"), SMALL, "mmac", cache=tmp_path),
    ]
    assert len(list(tmp_path.iterdir())) == 1 + len(others)
    again = cost_table(make("autoformer"), SMALL, "mmac", cache=tmp_path)
    net = supernet("autoformer")
    assert again.of(some(net, 5)).tolist() == others[-1].of(some(net, 5)).tolist()


def test_times_come_with_their_spread_and_finer_comparisons_are_refused() -> None:
    cost = cost_table(make("chain"), SMALL, "ms")
    low, high = cost.reach()
    assert 0 < low < high
    assert cost.spread > 0
    one = (0, 0, 0, 0, 0)
    assert compare(cost, one, one) == 0
    with pytest.raises(Refused, match=r"differ by less than .*, the spread of the measurements"):
        compare(replace(cost, spread=high), (0, 0, 0, 0, 0), (1, 1, 1, 1, 1))
    assert compare(replace(cost, spread=1e-9), (0, 0, 0, 0, 0), (1, 1, 1, 1, 1)) == -1
    counted = cost_table(make("chain"), SMALL, "params")
    assert compare(counted, (2, 2, 2, 2, 2), (1, 1, 1, 1, 1)) == -1


def test_a_thousand_look_ups_are_500_times_faster_than_one_by_one() -> None:
    """Against the published way: a loop over layers and choices with tensors, an architecture at a time."""
    net = supernet("spos")
    cost = cost_table(net, SMALL, "mmac")
    architectures = some(net, 1000)
    table, batch = [torch.tensor(layer) for layer in cost.layers], np.array(architectures)

    def one(architecture: Architecture) -> Tensor:
        one_hot = torch.zeros(len(table), 4)
        for layer, choice in enumerate(architecture):
            one_hot[layer, choice] = 1
        parts = []
        for row, costs in zip(one_hot, table, strict=True):
            parts.extend([p * c for p, c in zip(row, costs.tolist(), strict=True)])
        return sum(parts) + cost.base

    began = time.process_time()
    slow = [float(one(architecture)) for architecture in architectures[:50]]
    slow_s = (time.process_time() - began) * 20
    fast_s = math.inf
    for _ in range(20):
        began = time.perf_counter()
        fast = cost.of(batch)
        fast_s = min(fast_s, time.perf_counter() - began)
    assert fast[:50] == pytest.approx(slow, rel=1e-5)
    assert slow_s / fast_s > 500, (slow_s, fast_s)
