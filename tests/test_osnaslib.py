"""OSNASLib's names work, what is wrong in its `agent:` section is said, and its defects are not here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import regimen
from regimen.errors import SpecError
from regimen.execute import prepare
from regimen.nas.sampler import Path as TrainedPath
from regimen.nas.searcher import SearchProblem
from regimen.nas.searching import Search
from regimen.nas.searchspace import Inputs
from regimen.nas.space import Architecture, Space
from regimen.osnaslib import BaseSampler, DifferentiableSampler, FairnessSampler, UniformSampler
from regimen.registry import find, plugins
from regimen.spaces.chain import Chain

ROOT = Path(__file__).parents[1]
TINY = {"name": "digits", "supernet": {"space": {"name": "chain", "widths": [4, 6], "stride_at": [1]}}}
SHAPE = Inputs(1, 8, 8, 10)
SEARCHERS = [plugin.name for plugin in plugins("searcher", Path("nowhere"))]

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
DERIVED = '''
from regimen.osnaslib import FairnessSampler

class Backwards(FairnessSampler):
    """Fair paths, each layer's choice counted from the other end."""
    def __init__(self, model):
        super().__init__(model)
        self.last = self.get_block_len() - 1

    def generate_training_architecture(self):
        return [self.last - choice for choice in super().generate_training_architecture()]
'''


def description(**strategy: Any) -> dict[str, Any]:
    search = {"name": "random", "queries": 3}
    return {
        "task": TINY,
        "strategy": {"name": "uniform", "search": search, "retrain": None, "batch_size": 16, **strategy},
        "budget": {"steps": 4},
        "threads": 1,
    }


def without(body: dict[str, Any], *path: str) -> dict[str, Any]:
    """The description with one setting less."""
    first, *rest = path
    if rest:
        return {**body, first: without(body[first], *rest)}
    return {key: value for key, value in body.items() if key != first}


# ------------------------------------------------------------------ samplers of its users


def test_the_four_steps_of_the_published_page() -> None:
    Path("strategies").mkdir()
    Path("strategies/customize.py").write_text(PAGE)
    body = without(description(retrain=0.2), "strategy", "name")
    record = regimen.run({"agent": {"training_strategy_agent": "CustomizerSampler"}, **body})
    assert record.status == "completed"
    assert record.settings["strategy"]["name"] == "CustomizerSampler"
    assert {"found/params", "test/accuracy"} <= record.final.keys()


def test_a_sampler_derived_from_one_of_osnaslib_trains() -> None:
    Path("strategies").mkdir()
    Path("strategies/backwards.py").write_text(DERIVED)
    body = without(description(), "strategy", "name")
    record = regimen.run({"agent": {"training_strategy_agent": "Backwards"}, **body})
    assert (record.status, record.settings["strategy"]["strict"]) == ("completed", True)


def test_a_sampler_by_hand() -> None:
    class Mine(BaseSampler):
        def generate_training_architecture(self) -> list[int]:
            return [1] * self.macro_len

        def step(self) -> None:
            self.model.set_activate_architecture(self.generate_training_architecture())

    net = Chain().make_supernet(SHAPE)
    mine = Mine(net)
    assert (mine.macro_len, mine.micro_len, mine.get_block_len()) == (5, 3, 3)
    assert mine.plan(0) == [TrainedPath((1, 1, 1, 1, 1))]
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_its_samplers_by_hand_make_active_what_they_generate() -> None:
    net = Chain().make_supernet(SHAPE)
    fair, seen = FairnessSampler(net), []
    for _ in range(6):
        fair.step()
        seen.append(net.active)
    for window in (seen[:3], seen[3:]):
        assert all(sorted(choices) == [0, 1, 2] for choices in zip(*window, strict=True))
    DifferentiableSampler(net).step()
    assert net.state == "softmax"
    UniformSampler(net).step()
    assert net.state == "single"


# ------------------------------------------------------------------ the names of its settings


@pytest.mark.parametrize(
    ("key", "published", "path", "name"),
    [
        *(
            ("training_strategy_agent", published, ("strategy", "name"), name)
            for published, name in (
                ("UniformSampler", "uniform"),
                ("FairnessSampler", "fair"),
                ("DifferentiableSampler", "differentiable"),
                ("sandwich", "sandwich"),
            )
        ),
        *(
            ("search_strategy_agent", published, ("strategy", "search"), name)
            for published, name in (
                ("RandomSearcher", "random"),
                ("EvolutionSearcher", "genetic"),
                ("DifferentiableSearcher", "differentiable"),
                ("ArchitectureGeneratorSearcher", "generator"),
                ("NSGA2", "nsga2"),
            )
        ),
        *(
            ("search_space_agent", published, ("task", "supernet", "space"), name)
            for published, name in (
                ("FBNetSSupernet", "fbnet_s"),
                ("FBNetLSupernet", "fbnet_l"),
                ("ProxylessNASSupernet", "proxylessnas"),
                ("SPOSSupernet", "spos"),
                ("SGNASSupernet", "sgnas"),
                ("MobileFaceNetSupernet", "mobilefacenet"),
                ("chain", "chain"),
            )
        ),
        *(
            ("criterion_agent", published, ("strategy", "criterion"), name)
            for published, name in (
                ("CrossEntropyLoss", "cross_entropy"),
                ("LabelSmoothingCrossEntropy", "label_smoothing"),
                ("FocalLoss", "focal"),
                ("FaceCELoss", "angular"),
                ("OnlineTripletLoss", "triplet"),
            )
        ),
    ],
)
def test_every_part_is_named_by_its_class_name_or_ours(
    key: str, published: str, path: tuple[str, ...], name: str
) -> None:
    ready = prepare({"agent": {key: published}, **without(description(), *path)})
    at: Any = ready.spec
    for part in path:
        at = getattr(at, part)
    assert (at if isinstance(at, str) else at.name) == name


@pytest.mark.parametrize(
    ("agent", "retrain"),
    [("CFSearchAgent", None), ("FRSearchAgent", None), ("CFEvaluateAgent", 20), ("FREvaluateAgent", 20)],
)
def test_a_search_agent_ends_with_the_search(agent: str, retrain: float | None) -> None:
    body = without(description(), "strategy", "retrain")
    ready: Any = prepare({"agent": {"main_agent": agent, "hc_criterion_agent": "MSELoss"}, **body})
    assert ready.spec.strategy.retrain == retrain


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ({"training_strategy_agnt": "x"}, "agent.training_strategy_agnt: is not known.*training_strategy_agent"),
        ({"training_strategy_agent": 3}, "is 3; expected the name of a class"),
        ({"training_strategy_agent": "UniformSamplr"}, "there is no strategy 'UniformSamplr'.*uniform"),
        ({"search_strategy_agent": "genetic"}, "strategy.search.name is 'random': name it once"),
        ({"search_space_agent": "SPOSSupernet"}, "means 'spos', and task.supernet.space.name is 'chain': name it once"),
        ({"main_agent": "MyAgent"}, "known: CFSearchAgent"),
        ({"main_agent": "CFEvaluateAgent"}, "trains what was found, and strategy.retrain is None: remove one of them"),
        ("FairnessSampler", "agent: holds no names"),
    ],
)
def test_what_is_wrong_in_the_agent_section_is_said(agents: Any, said: str) -> None:
    body = description()
    if isinstance(agents, dict) and "training_strategy_agent" in agents:
        body = without(body, "strategy", "name")
    with pytest.raises(SpecError, match=said):
        prepare({"agent": agents, **body})


@pytest.mark.parametrize(("key", "value"), [("strategy", 3), ("task", ["digits"])])
def test_a_name_for_what_is_no_group_is_a_wrong_setting(key: str, value: Any) -> None:
    part = "criterion_agent" if key == "strategy" else "search_space_agent"
    with pytest.raises(SpecError, match=rf"cannot be put into {key}, which is .* and holds no names"):
        prepare({"agent": {part: "FocalLoss"}, **description(), key: value})


# ------------------------------------------------------------------ its defects, where no other test has them


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_supernet_of_mixed_choices_is_searched_by_any_searcher(name: str) -> None:
    few = {"random": {"batch": 2}, "generator": {"steps": 6, "width": 4}}.get(name, {})
    record = regimen.run(description(name="differentiable", search={"name": name, "queries": 4, **few}, retrain=0.2))
    assert record.status == "completed"
    assert {"search/accuracy", "test/accuracy"} <= record.final.keys()


def test_the_supernet_is_judged_by_the_same_networks_each_time() -> None:
    """With weights that do not move, the number stays, whatever was sampled last."""
    still = {"optimizer": {"name": "sgd", "lr": 1e-30}, "schedule": "constant", "search": None}
    record = regimen.run({**description(**still), "evaluate": {"every": 1}})
    seen = [point.value for point in record.curve("valid/accuracy")]
    assert len(seen) == 5
    assert len(set(seen)) == 1


class Losses:
    """Qualities that are all below 0: minus the cost of each choice."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        return [-1000.0 - sum(architecture) for architecture in architectures]


@pytest.mark.parametrize("name", [name for name in SEARCHERS if name not in ("differentiable", "generator", "nsga2")])
def test_the_best_of_qualities_below_0_is_the_largest(name: str) -> None:
    space = Space("toy", (3, 3, 3))
    plugin = find(name, ["searcher"])
    searcher = plugin.make(plugin.settings()(queries=27))
    search = Search(searcher, SearchProblem(space), Losses(space), np.random.default_rng(0))
    assert search.run()
    assert (search.found().architecture, search.found().quality) == ((0, 0, 0), -1000.0)


@pytest.mark.parametrize("name", ["chain", "spos", "sgnas", "nas_bench_201"])
def test_architecture_parameters_are_set_and_read_back(name: str) -> None:
    plugin = find(name, ["space"])
    net = plugin.make(plugin.settings()()).make_supernet(Inputs(3, 16, 16, 5))
    net.initialize_arch_param("cpu")
    everything, rows = net.get_arch_param()
    assert everything.shape == (sum(net.space.sizes),)
    assert [tuple(row.shape) for row in rows] == [(1, size) for size in net.space.sizes]
    wanted = torch.randn(len(net.space.sizes), net.get_model_cfg_shape()[1])
    net.set_arch_param(wanted)  # after initialize_arch_param, as one tensor
    assert torch.equal(net.get_arch_param()[0], wanted.flatten())
    assert net.get_best_arch_param().tolist() == wanted.argmax(dim=1).tolist()


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam"])
def test_its_optimizers_train(name: str) -> None:
    momentum = {} if name == "adam" else {"momentum": 0.9}
    record = regimen.run(description(optimizer={"name": name, "lr": 1e-3, **momentum}, search=None))
    assert record.status == "completed"


def test_a_space_for_fewer_than_five_classes_is_judged() -> None:
    Path("tasks").mkdir()
    Path("tasks/few.py").write_text(FEW)
    body = {**description(retrain=0.2), "task": {"name": "few", "supernet": TINY["supernet"]}}
    record = regimen.run({**body, "evaluate": {"every": 1}})
    assert record.status == "completed"
    tested = [points for key, points in record.curves.items() if key.endswith("test/accuracy")]
    assert [len(points) for points in tested] == [1]  # once, at the end: nothing is chosen by the test rows


FEW = '''
import torch

from regimen.nas.images import Pictures, PictureSplits
from regimen.nas.supernettask import SupernetTask


class Few(SupernetTask):
    """Three classes; a picture says in its corner which rows it is of."""

    name = "few"

    def read(self):
        draw = torch.Generator().manual_seed(0)
        classes = torch.arange(60) % 3
        parts = []
        for number in range(3):
            inputs = torch.randn(60, 1, 8, 8, generator=draw)
            inputs[:, 0, 0, 0] = number
            parts.append(Pictures(inputs, classes))
        return PictureSplits(*parts)

    def augment(self, inputs, generator):
        assert (inputs[:, 0, 0, 0] == 0).all(), "only rows to train on are augmented"
        return inputs
'''


def test_wrong_settings_of_a_criterion_are_named_all_at_once() -> None:
    criterion = {"name": "angular", "embeding_size": 8, "margin": "wide"}
    with pytest.raises(SpecError, match="embeding_size") as raised:
        prepare(description(criterion=criterion))
    assert "strategy.criterion.margin" in str(raised.value)


def test_pictures_have_mean_0_and_deviation_1(data_dir: Path) -> None:
    plugin = find("fashion_mnist", ["task"])
    splits = plugin.make(plugin.settings()(data_dir=data_dir, train_rows=5000)).splits
    for part in (splits.train, splits.valid, splits.test):
        assert float(part.inputs.mean()) == pytest.approx(0, abs=0.03)
        assert float(part.inputs.std()) == pytest.approx(1, abs=0.03)


def test_every_defect_that_is_not_kept_has_a_test_that_is_there() -> None:
    page = (ROOT / "docs/decisions/0009-osnaslib-names-kept-defects-not.md").read_text()
    named = re.findall(r"`(test_\w+)`", page)
    written = set(re.findall(r"^def (test_\w+)", "".join(p.read_text() for p in ROOT.glob("tests/*.py")), re.MULTILINE))
    assert set(named) <= written, set(named) - written
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    assert rows == list(range(1, 21))
