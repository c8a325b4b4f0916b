"""Samplers: fair windows, gradients of several paths, OSNASLib's names, and what is wrong in its `agent:` section."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import regimen
from regimen.errors import Refused, SpecError
from regimen.execute import prepare
from regimen.nas.sampler import Path as TrainedPath
from regimen.nas.searchspace import Inputs
from regimen.nas.space import Space
from regimen.nas.supernet import Supernet
from regimen.osnaslib import BaseSampler, FairnessSampler
from regimen.spaces.chain import Chain

TINY = {"name": "digits", "supernet": {"space": {"name": "chain", "widths": [4, 6], "stride_at": [1]}}}

PAGE = '''
from regimen.osnaslib import BaseSampler
import torch

class CustomizerSampler(BaseSampler):
    """Blocks at random, as the published page has it."""
    def __init__(self, model):
        super().__init__(model)
        self.made = 0

    def generate_training_architecture(self):
        self.made += 1
        return torch.randint(0, self.get_block_len(), (self.macro_len,))

    def step(self):
        architecture = self.generate_training_architecture()
'''


def description(**strategy: Any) -> dict[str, Any]:
    search = {"name": "random", "queries": 3}
    return {
        "task": TINY,
        "strategy": {"name": "uniform", "search": search, "retrain": None, "batch_size": 16, **strategy},
        "budget": {"steps": 4},
        "threads": 1,
    }


def supernet(sizes: tuple[int, ...]) -> Supernet:
    layers = [[nn.Linear(2, 2) for _ in range(size)] for size in sizes]
    return Supernet(Space("toy", sizes), nn.Identity(), layers, nn.Identity())


@pytest.mark.parametrize("strict", [True, False])
def test_fair_windows_hold_every_choice_of_every_layer_once(strict: bool) -> None:
    sampler = FairnessSampler()
    sampler.strict = strict
    sampler.attach(supernet((3, 3, 3)), np.random.default_rng(0))
    paths = [path for step in range(12) for path in sampler.plan(step)]
    for start in range(0, len(paths) - 2, 3):
        for layer in range(3):
            assert sorted(path.architecture[layer] for path in paths[start : start + 3]) == [0, 1, 2]  # type: ignore[index]


def test_a_layer_with_fewer_choices_begins_again() -> None:
    sampler = FairnessSampler()
    sampler.attach(supernet((2, 3)), np.random.default_rng(0))
    paths = [path.architecture for step in range(4) for path in sampler.plan(step)]
    assert Counter(path[0] for path in paths if path) == {0: 6, 1: 6}
    assert Counter(path[1] for path in paths if path) == {0: 4, 1: 4, 2: 4}


def test_a_strictly_fair_step_minimises_the_sum_of_its_paths() -> None:
    """The gradient of a sum is the sum of the gradients: the step is one update with those of all its paths."""
    one = description(
        name="fair", optimizer={"name": "sgd", "lr": 0.1}, clip_norm=None, schedule="constant", search=None
    )
    record = regimen.run({**one, "budget": {"steps": 1}})
    assert record.curve("train/loss")[-1].value == pytest.approx(3 * record.curve("train/path_loss")[-1].value)


def test_the_four_steps_of_the_published_page(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("strategies").mkdir()
    Path("strategies/customize.py").write_text(PAGE)
    body = description(retrain=0.2)
    del body["strategy"]["name"]
    record = regimen.run({"agent": {"training_strategy_agent": "CustomizerSampler"}, **body})
    assert record.status == "completed"
    assert record.settings["strategy"]["name"] == "CustomizerSampler"
    assert {"found/params", "test/accuracy"} <= record.final.keys()


def test_a_sampler_by_hand() -> None:
    class Mine(BaseSampler):
        def generate_training_architecture(self) -> list[int]:
            return [1] * self.macro_len

        def step(self) -> None:
            self.model.set_activate_architecture(self.generate_training_architecture())

    net = Chain().make_supernet(Inputs(1, 8, 8, 10))
    mine = Mine(net)
    assert (mine.macro_len, mine.micro_len, mine.get_block_len()) == (5, 3, 3)
    assert mine.plan(0) == [TrainedPath((1, 1, 1, 1, 1))]
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ({"training_strategy_agnt": "x"}, "agent.training_strategy_agnt: is not known.*training_strategy_agent"),
        ({"training_strategy_agent": 3}, "is 3; expected the name of a class"),
        ({"training_strategy_agent": "UniformSamplr"}, "there is no strategy 'UniformSamplr'.*uniform"),
        ({"search_strategy_agent": "genetic"}, "strategy.search.name is 'random': name it once"),
        ({"main_agent": "MyAgent"}, "known: CFSearchAgent"),
        ("FairnessSampler", "agent: holds no names"),
    ],
)
def test_what_is_wrong_in_the_agent_section_is_said(agents: Any, said: str) -> None:
    body = description()
    if isinstance(agents, dict) and "training_strategy_agent" in agents:
        del body["strategy"]["name"]
    with pytest.raises(SpecError, match=said):
        prepare({"agent": agents, **body})


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
