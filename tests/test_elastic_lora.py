"""Elastic LoRA: the ranks of a fine-tune's adapters as a search space, from training to an adapter that PEFT loads."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from regimen.errors import Refused, SpecError
from regimen.nas.cost import CostTable
from regimen.nas.costing import cost_table
from regimen.nas.elasticlora import ElasticLoraSupernet, middle
from regimen.nas.sampler import Sampler
from regimen.nas.searcher import Searcher
from regimen.nas.searching import Found, Search
from regimen.nas.searchproblem import ByUnit, CostLimits, SearchProblem
from regimen.nas.space import Architecture
from regimen.nas.supernet import STATES
from regimen.registry import find
from regimen.seeding import seed_globals

ROWS = {"name": "sorting", "digits": 2, "train_rows": 48, "valid_rows": 24}


def task(text: dict[str, Any] | None = None, **space: Any) -> Any:
    plugin = find("lora_ranks", ["task"], Path("nowhere"))
    wanted = {"text": text or ROWS, "supernet": {"space": {"name": "elastic_lora", **space}}}
    return plugin.make(plugin.settings().model_validate(wanted))


def supernet(**space: Any) -> ElasticLoraSupernet:
    """With adapters that change something: B begins at zero."""
    seed_globals(3, torch.device("cpu"))
    chosen = task(**space)
    made: ElasticLoraSupernet = chosen.space.make_supernet(chosen.inputs())
    with torch.no_grad():
        for layers in made.elastic:
            for layer in layers:
                layer.lora_B.normal_(std=0.05)
    return made.eval()


@functools.cache
def ids() -> Tensor:
    return torch.randint(0, 256, (3, 9), generator=torch.Generator().manual_seed(1))


def some(net: ElasticLoraSupernet, number: int = 3) -> list[Architecture]:
    generator = np.random.default_rng(0)
    return [net.space.random(generator) for _ in range(number)]


def logits(net: ElasticLoraSupernet, architecture: Sequence[int]) -> Tensor:
    net.set_forward_state("single")
    net.set_activate_architecture(architecture)
    with torch.no_grad():
        found: Tensor = net(ids())
    return found


# ------------------------------------------------------------------ the space


def test_groups_follow_the_settings() -> None:
    usual = task().space.space
    assert usual.sizes == (3,) * 16  # q+k+v, o, gate+up and down of four blocks
    assert usual.choices[0][1] == "model.layers.0.q_proj+k_proj+v_proj: rank 4"
    every = task(together=[], ranks=[1, 8]).space
    assert every.space.sizes == (2,) * 28
    block = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert task(together=[{"modules": block}]).space.space.sizes == (3,) * 4
    own = task(together=[{"modules": ["q_proj", "v_proj"], "ranks": [2, 4, 6, 8]}], target_modules=["q_proj", "v_proj"])
    assert own.space.space.sizes == (4,) * 4
    assert middle(own.space.space) == (1,) * 4
    assert middle(usual) == (1,) * 16


def test_the_cost_is_what_is_trained() -> None:
    chosen = task(ranks=[2, 4, 8])
    net = supernet(ranks=[2, 4, 8])
    table = net.cost_table()
    assert table.reach() == cost_table(chosen.space, chosen.inputs(), "params").reach() == (20_480.0, 81_920.0)
    for architecture in some(net):
        network = chosen.space.make_network(architecture, chosen.inputs())
        trained = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
        assert table.of([architecture]).tolist() == [trained]
    trained_names = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert all(name.endswith(("lora_A", "lora_B")) for name in trained_names)
    assert len(trained_names) == 2 * 28
    pieces = [(part.positions[0], part.choices[0], part) for part in net.parts(ids()[:1])]
    for layer, costs in enumerate(table.layers):
        for choice, cost in enumerate(costs):
            modules = [part.module for at, which, part in pieces if (at, which) == (layer, choice)]
            assert sum(p.numel() for module in modules for p in module.parameters()) == cost


# ------------------------------------------------------------------ what is computed


@pytest.mark.parametrize("scaling", ["rank", "fixed"])
def test_a_network_with_the_shared_weights_gives_the_same_bits(scaling: str) -> None:
    net = supernet(scaling=scaling)
    chosen = task(scaling=scaling)
    outputs = []
    for architecture in some(net):
        network = chosen.space.make_network(architecture, chosen.inputs()).eval()
        network.load_state_dict(net.inherited(architecture))
        outputs.append(logits(net, architecture))
        assert torch.equal(logits(network, (0,) * 16), outputs[-1])
    assert not torch.equal(outputs[0], outputs[1])


def test_the_state_holds_the_adapters_alone() -> None:
    net, other = supernet(), supernet()
    state = net.state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 81_920
    with torch.no_grad():
        for tensor in state.values():
            tensor.mul_(2)
    before = logits(other, (1,) * 16)
    wrapped, wrapper = nn.Sequential(net), nn.Sequential(other)  # as a trainer may hold them
    wrapper.load_state_dict(wrapped.state_dict())
    assert torch.equal(logits(other, (1,) * 16), logits(net, (1,) * 16))
    assert not torch.equal(logits(other, (1,) * 16), before)
    state.pop("model.model.layers.0.mlp.up_proj.lora_A")
    with pytest.raises(RuntimeError, match=r"Missing key.*up_proj\.lora_A"):
        other.load_state_dict(state)


def test_untrained_adapters_change_nothing() -> None:
    chosen = task()
    net = chosen.space.make_supernet(chosen.inputs()).eval()
    plain = chosen.language.load_model(torch.device("cpu")).eval()
    with torch.no_grad():
        wanted = plain(input_ids=ids(), use_cache=False).logits
    for architecture in ((0,) * 16, (2,) * 16):
        assert torch.equal(logits(net, architecture), wanted)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("scaling", ["rank", "fixed"])
def test_forward_states_equal_a_direct_sum(state: Any, scaling: str) -> None:
    """Of one linear layer; each rank on its own, added with the weights of the state."""
    net = supernet(ranks=[2, 3, 8], scaling=scaling)
    net.initialize_arch_param()
    net.set_arch_param([torch.randn(1, 3, generator=torch.Generator().manual_seed(7)) for _ in range(16)])
    net.set_forward_state(state, tau=0.7)
    net.set_activate_architecture((1,) * 16)
    torch.manual_seed(5)
    weights_K = torch.eye(3)[1] if state == "single" else net.weights_of(0)
    torch.manual_seed(5)
    net.activate()
    layer, given = net.elastic[0][0], torch.randn(4, 128, generator=torch.Generator().manual_seed(2))
    direct = layer.base(given)
    for weight, rank in zip(weights_K, (2, 3, 8), strict=True):
        scale = 32 / rank if scaling == "rank" else 32 / 8
        direct = direct + weight * scale * (given @ layer.lora_A[:rank].T) @ layer.lora_B[:, :rank].T
    torch.testing.assert_close(layer(given), direct, rtol=1e-4, atol=1e-4)


def test_architecture_parameters_get_gradients() -> None:
    net = supernet()
    net.initialize_arch_param()
    net.set_forward_state("gumbel_softmax", tau=1.0)
    net(ids()).square().mean().backward()
    assert all(float(row.grad.abs().sum()) > 0 for row in net.arch_params)  # type: ignore[union-attr]


# ------------------------------------------------------------------ training with any sampler


def sampler(name: str, net: ElasticLoraSupernet, **settings: Any) -> Sampler:
    plugin = find(name, ["nas"], Path("nowhere"))
    made: Sampler = plugin.make(plugin.settings().model_validate(settings))
    made.attach(net, np.random.default_rng(0))
    return made


def losses(net: ElasticLoraSupernet, rows: Any, paths: Any) -> Tensor:
    criterion = find("cross_entropy", ["criterion"], Path("nowhere")).load()()
    total = torch.zeros(())
    for path in paths:
        net.set_forward_state(path.forward, path.tau)
        if path.architecture is not None:
            net.set_activate_architecture(path.architecture)
        total = total + path.weight * criterion.losses(net(rows.inputs), rows.classes, None).mean()
    return total


@pytest.mark.parametrize(("name", "paths"), [("uniform", 1), ("fair", 3)])
def test_samplers_train_the_ranks(name: str, paths: int) -> None:
    chosen = task()
    net = chosen.space.make_supernet(chosen.inputs())
    planner = sampler(name, net)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    frozen = {n: p.detach().clone() for n, p in net.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW(trained, lr=5e-3)
    seen = []
    for step in range(12):
        plan = planner.plan(step)
        assert len(plan) == paths
        optimizer.zero_grad()
        loss = losses(net, chosen.splits.train, plan)
        loss.backward()
        optimizer.step()
        seen.append(loss.item() / paths)
    assert seen[-1] < 0.9 * seen[0]
    assert all(torch.equal(p, frozen[n]) for n, p in net.named_parameters() if n in frozen)


def test_the_gradient_of_a_fair_step_is_the_sum_of_its_paths() -> None:
    net, chosen = supernet(), task()
    plan = sampler("fair", net).plan(0)
    for layer in range(16):
        assert sorted(path.architecture[layer] for path in plan if path.architecture) == [0, 1, 2]
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    together = torch.autograd.grad(losses(net, chosen.splits.train, plan), parameters)
    alone = [torch.autograd.grad(losses(net, chosen.splits.train, [path]), parameters) for path in plan]
    for number, whole in enumerate(together):
        torch.testing.assert_close(whole, sum(each[number] for each in alone), rtol=1e-4, atol=1e-7)


# ------------------------------------------------------------------ searching under a budget


class ByRank:
    """Says that more rank is better, and the first groups matter most."""

    def __init__(self, space: Any) -> None:
        self.space = space

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        weights = 1.0 / (1 + np.arange(len(self.space.sizes)))
        return [float(weights @ np.asarray(architecture)) for architecture in architectures]


def searched(table: CostTable, space: Any, most: float) -> Found:
    plugin = find("evolution", ["searcher"], Path("nowhere"))
    searcher: Searcher = plugin.make(plugin.settings().model_validate({"queries": 300}))
    problem = SearchProblem.of(space, [table], CostLimits(max=ByUnit(params=most)))
    search = Search(searcher, problem, ByRank(space), np.random.default_rng(0))
    assert search.run()
    return search.found()


def test_a_search_keeps_the_budget_and_beats_the_middle() -> None:
    net = supernet()
    table, baseline = net.cost_table(), middle(net.space)
    budget = float(table.of([baseline])[0])
    found = searched(table, net.space, budget)
    assert found.costs["params"] <= budget
    assert found.quality > ByRank(net.space).evaluate([baseline])[0]
    with pytest.raises(Refused, match="20480 to 81920"):
        searched(table, net.space, 20_000)


# ------------------------------------------------------------------ the export


@pytest.mark.parametrize("scaling", ["rank", "fixed"])
@pytest.mark.parametrize("from_network", [False, True])
def test_peft_loads_the_adapter_and_computes_the_same(tmp_path: Path, scaling: str, from_network: bool) -> None:
    from peft import PeftModel

    chosen, net = task(scaling=scaling), supernet(scaling=scaling)
    architecture = (2, 0, 1, 0) * 4
    network: nn.Module = net
    if from_network:
        network = chosen.space.make_network(architecture, chosen.inputs()).eval()
        network.load_state_dict(net.inherited(architecture))
    chosen.export(network, architecture, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (8, "tiny")
    patterns = {"model.layers.0.self_attn.o_proj": 2, "model.layers.3.mlp.up_proj": 4}
    assert patterns.items() <= config["rank_pattern"].items()
    wanted = {"rank": 32, "fixed": 8}[scaling]
    assert config["alpha_pattern"]["model.layers.0.self_attn.o_proj"] == wanted
    base = chosen.language.load_model(torch.device("cpu"))
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        theirs = loaded(input_ids=ids(), use_cache=False).logits
    torch.testing.assert_close(theirs, logits(net, architecture), rtol=1e-5, atol=1e-5)
    sizes = {n: p.shape for n, p in loaded.named_parameters() if "lora_A" in n}
    assert sizes["base_model.model.model.layers.0.self_attn.o_proj.lora_A.default.weight"] == (2, 128)
    assert (
        sum(p.numel() for n, p in loaded.named_parameters() if "lora_" in n) == net.cost_table().of([architecture])[0]
    )


def test_one_rank_for_all_needs_no_pattern(tmp_path: Path) -> None:
    net = supernet()
    net.export((2,) * 16, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["rank_pattern"], config["alpha_pattern"]) == (8, 32, {}, {})


# ------------------------------------------------------------------ the task


def test_rows_are_padded_and_targets_come_one_later() -> None:
    chosen = task()
    splits = chosen.splits
    assert {len(splits.valid.classes), len(splits.test.classes)} == {12}
    assert splits.train.inputs.shape == splits.train.classes.shape
    row, targets = splits.train.inputs[0], splits.train.classes[0]
    trained = targets != -100
    assert torch.equal(row[1:][trained[:-1]], targets[:-1][trained[:-1]])
    shown = chosen.language.tokenizer.decode(targets[trained], skip_special_tokens=True)
    assert shown == chosen.language.rows["train"][0]["completion"]
    assert chosen.fingerprint() != task({**ROWS, "data_seed": 1}).fingerprint()
    assert chosen.describe()["model"] == "tiny"


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"ranks": [4, 2]}, r"task.supernet.space.ranks: is \[4, 2\]; expected different ranks"),
        ({"ranks": [0, 2]}, r"ranks: is \[0, 2\]"),
        ({"together": [{"modules": ["q_prj"]}]}, r"together\[0\].modules: names 'q_prj'.*It has: down_proj"),
        ({"together": [{"modules": ["q_proj", "q_proj"]}]}, "names q_proj more than once"),
        ({"together": [{"modules": ["q_proj"], "ranks": [3, 3]}]}, r"together\[0\].ranks: is \[3, 3\]"),
        ({"target_modules": ["c_attn"]}, "target_modules: names 'c_attn'"),
    ],
)
def test_wrong_settings_name_their_place(space: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        assert task(**space).space.space


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(SpecError, match=r"task.supernet.space.name: is 'chain', which is no space of a language model"):
        assert task(name="chain").space
    with pytest.raises(SpecError, match=r"task.text.name: is 'digits', which has no language model"):
        assert task({"name": "digits"}).language
    plugin = find("elastic_lora", ["space"], Path("nowhere"))
    with pytest.raises(SpecError, match=r"the task brings none. Use the task lora_ranks"):
        assert plugin.make(plugin.settings().model_validate({})).space
    with pytest.raises(ValidationError, match="sortin"):
        task({"name": "sortin"})
