"""Searchers: what all keep to, what each is for, and the truth of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from regimen.errors import Refused, StrategyFailed
from regimen.nas.cost import Cost, CostTable
from regimen.nas.costing import expected_cost
from regimen.nas.likeliest import likeliest
from regimen.nas.searcher import Searcher
from regimen.nas.searching import Search
from regimen.nas.searchproblem import ByUnit, CostLimits, SearchProblem
from regimen.nas.space import Architecture, Space
from regimen.nas.supernet import Supernet
from regimen.nas.tabular import ListedCost, Table, TabularEvaluator, read_nas_bench_macro
from regimen.registry import find, plugins

NAMES = sorted(plugin.name for plugin in plugins("searcher", Path("nowhere")))
BLACK_BOX = [name for name in NAMES if not find(name, ["searcher"]).load().needs_supernet]
SIZES = (3, 2, 4, 3, 3)


def make(name: str, **given: Any) -> Searcher:
    """As a run makes it: settings checked, a fresh object."""
    plugin = find(name, ["searcher"])
    made: Searcher = plugin.make(plugin.settings().model_validate({"name": name, **given}))
    return made


def sorted_last(architecture: Architecture) -> Architecture:
    """The order of the last two layers does not matter."""
    return (*architecture[:3], *sorted(architecture[3:]))


SPACE = Space("toy", SIZES, canonical=sorted_last)
MMAC = CostTable("mmac", 1.0, tuple(np.arange(size, dtype=float) for size in SIZES))
PARAMS = CostTable("params", 10.0, tuple(np.arange(size, dtype=float)[::-1].copy() for size in SIZES))


class Judge:
    """Negative numbers (a loss), and a list of what was judged."""

    space = SPACE

    def __init__(self, fail_at: int | None = None) -> None:
        self.judged: list[Architecture] = []
        self.fail_at = fail_at

    def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
        if self.fail_at is not None and len(self.judged) + len(architectures) > self.fail_at:
            raise KeyboardInterrupt
        self.judged += architectures
        return [
            -10.0 - sum((2 * choice - 3) ** 2 * (layer + 1) for layer, choice in enumerate(a)) for a in architectures
        ]


def problem(**limits: Any) -> SearchProblem:
    return SearchProblem.of(SPACE, [MMAC, PARAMS], CostLimits(**limits))


def search(
    name: str, seed: int = 0, judge: Judge | None = None, at: SearchProblem | None = None, **given: Any
) -> Search:
    return Search(make(name, **given), at or problem(), judge or Judge(), np.random.default_rng(seed))


# ------------------------------------------------------------------------------------------------ what all keep to


@pytest.mark.parametrize("name", BLACK_BOX)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), high=st.floats(2.0, 11.0), low=st.floats(0.0, 2.0), queries=st.integers(1, 60))
def test_nothing_forbidden_and_nothing_twice_is_asked(
    name: str, seed: int, high: float, low: float, queries: int
) -> None:
    judge, at = Judge(), problem(max={"mmac": high}, min={"mmac": max(low, 0.1)})
    found = search(name, seed, judge, at, queries=queries)
    assert found.run()
    assert at.allowed(judge.judged).all()
    forms = [SPACE.canonical(each) for each in judge.judged]
    assert len(set(forms)) == len(forms) <= queries
    assert found.found().quality == max(each.quality for each in found.history)
    assert len(found.searcher.judged) == len(forms)  # it knows them itself: nothing was answered from the cache


@pytest.mark.parametrize("name", BLACK_BOX)
def test_a_small_space_is_searched_to_its_end(name: str) -> None:
    at = problem(max={"mmac": 5.0})
    every = list(SPACE.everything())
    forms = {SPACE.canonical(each) for each, kept in zip(every, at.allowed(every), strict=True) if kept}
    found = search(name, at=at, queries=1000)
    assert found.run()
    assert len(found.history) == len(forms)


@pytest.mark.parametrize("name", BLACK_BOX)
def test_the_same_seed_gives_the_same_trace(name: str) -> None:
    traces = []
    for seed in (0, 0, 1):
        found = search(name, seed, queries=40)
        found.run()
        traces.append([each.architecture for each in found.history])
    assert traces[0] == traces[1] != traces[2]


@pytest.mark.parametrize("name", BLACK_BOX)
def test_stopped_anywhere_and_resumed_is_as_if_left_alone(name: str) -> None:
    at = problem(max={"mmac": 8.0})
    whole = search(name, 3, at=at, queries=50)
    whole.run()
    stopped = search(name, 3, at=at, queries=50)
    rounds = 0
    while stopped.step():
        rounds += 1
        kept = json.loads(json.dumps(stopped.state_dict()))
        stopped = search(name, 99, at=at, queries=50)
        stopped.load_state_dict(kept)
    assert rounds >= 1
    assert stopped.history == whole.history
    assert stopped.found() == whole.found()
    assert stopped.state_dict() == whole.state_dict()


@pytest.mark.parametrize("name", BLACK_BOX)
def test_what_was_interrupted_while_judging_is_judged_again(name: str) -> None:
    whole = search(name, 5, queries=45)
    whole.run()
    broken = search(name, 5, Judge(fail_at=30), queries=45)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = search(name, 6, queries=45)
    resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
    resumed.run()
    assert resumed.history == whole.history


@pytest.mark.parametrize("name", BLACK_BOX)
def test_what_cannot_be_judged_is_never_the_answer(name: str) -> None:
    class Fussy(Judge):
        def evaluate(self, architectures: Sequence[Architecture]) -> list[float]:
            known = zip(architectures, super().evaluate(architectures), strict=True)
            return [quality if each[0] == 2 else float("nan") for each, quality in known]

    found = search(name, judge=Fussy(), queries=60)
    found.run()
    assert found.found().architecture[0] == 2
    nothing = search(name, judge=Fussy(), at=problem(max={"mmac": 1.5}), queries=5)  # only (0, 0, 0, 0, 0)
    nothing.run()
    with pytest.raises(StrategyFailed, match="none of 1 architectures could be judged"):
        nothing.found()


def test_settings_are_checked() -> None:
    assert make("evolution", cost={"max": {"mmac": 2.0}}).cost.ranges()["mmac"].high == 2.0
    with pytest.raises(ValidationError, match="megaflops"):
        make("random", cost={"max": {"megaflops": 2.0}})
    with pytest.raises(ValidationError):
        make("random", queries=0)


# --------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max": {"mmac": 0.5}}, "have 1 to 11"),
        ({"min": {"mmac": 20.0}}, "have 1 to 11"),
        ({"max": {"mmac": 2.0}, "min": {"mmac": 3.0}}, "at least 3 and at most 2"),
        ({"max": {"ms": 3.0}}, "limits ms, and that cost of toy is not known"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_at_once(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        problem(**limits)


@pytest.mark.parametrize("name", BLACK_BOX)
def test_limits_that_exclude_each_other_end_in_a_refusal_with_what_can_be_reached(name: str) -> None:
    """Cheap in one unit is dear in the other: each limit can be kept, both cannot. Nothing is judged, nothing hangs."""
    judge = Judge()
    found = search(name, judge=judge, at=problem(max={"mmac": 3.0, "params": 12.0}))
    with pytest.raises(Refused, match="1 to 11 mmac; 10 to 20 params"):
        found.run()
    assert not judge.judged


def test_a_limit_that_hardly_any_architecture_keeps_is_met() -> None:
    """1 in 9^22 is the cheapest: no number of random draws finds it (OSNASLib's loop would not end)."""
    space = Space("wide", (9,) * 22)
    table = CostTable("mmac", 2.0, tuple(np.linspace(0, 1, 9) for _ in range(22)))
    at = SearchProblem.of(space, [table], CostLimits(max=ByUnit(mmac=2.2)))
    for name in BLACK_BOX:
        searcher = make(name, queries=12)
        searcher.begin(at, np.random.default_rng(0))
        asked = searcher.ask()
        assert asked
        assert at.allowed(asked).all()


def test_measured_costs_are_not_compared_finer_than_they_are_measured() -> None:
    noisy = CostTable("ms", 1.0, MMAC.layers, spread=2.0)
    SearchProblem.of(SPACE, [noisy], CostLimits(max=ByUnit(ms=5.0)))
    with pytest.raises(Refused, match="two measurements of one architecture differ by 2"):
        SearchProblem.of(SPACE, [noisy], CostLimits(max=ByUnit(ms=5.0), min=ByUnit(ms=4.0)))
    with pytest.raises(Refused, match=r"leaves 0\.5 ms"):
        SearchProblem.of(SPACE, [noisy], CostLimits(max=ByUnit(ms=1.5)))


# ------------------------------------------------------------------------------------------ a searcher of a user's


class Stubborn:
    """No base class of ours, asks for the same for ever."""

    def __init__(self, asks: list[Architecture]) -> None:
        self.asks, self.told = asks, 0

    def ask(self) -> list[Architecture]:
        return self.asks

    def tell(self, architectures: Sequence[Architecture], qualities: Sequence[float]) -> None:
        self.told += len(architectures)


def stubborn(asks: list[Architecture], at: SearchProblem) -> tuple[Search, Judge]:
    judge = Judge()
    adopted = type("Stubborn", (Stubborn, Searcher), {})
    return Search(adopted(asks), at, judge, np.random.default_rng(0)), judge


def test_a_searcher_that_repeats_itself_ends_and_costs_nothing() -> None:
    found, judge = stubborn([(0, 0, 0, 1, 2), (0, 0, 0, 2, 1), (0, 0, 0, 1, 2)], problem())
    assert found.run()
    assert judge.judged == [(0, 0, 0, 1, 2)]


def test_a_searcher_that_asks_for_the_forbidden_is_told_so() -> None:
    found, judge = stubborn([(2, 1, 3, 2, 2)], problem(max={"mmac": 3.0}))
    with pytest.raises(StrategyFailed, match="breaks a limit"):
        found.run()
    assert not judge.judged


# ---------------------------------------------------------------------------------------------------------- NSGA-II


def test_the_front_rises_with_the_cost_and_never_falls_back() -> None:
    found = search("nsga2", queries=60)
    best_at: dict[float, float] = {}
    while found.step():
        front = found.searcher.front()  # type: ignore[attr-defined]
        costs = MMAC.of([each.architecture for each in front])
        qualities = [each.quality for each in front]
        assert (np.diff(costs) > 0).all()
        assert (np.diff(qualities) > 0).all()
        for cost, quality in best_at.items():
            assert max(q for c, q in zip(costs, qualities, strict=True) if c <= cost) >= quality
        best_at = dict(zip(costs.tolist(), qualities, strict=True))


def test_costs_within_the_spread_are_equal_on_the_front() -> None:
    noisy = CostTable("ms", 0.0, MMAC.layers, spread=100.0)
    found = search("nsga2", at=SearchProblem.of(SPACE, [noisy]), queries=60, objective="ms")
    found.run()
    assert [each.architecture for each in found.searcher.front()] == [found.found().architecture]  # type: ignore[attr-defined]


def test_an_unknown_objective_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(Refused, match="is ms, and that cost of toy is not known"):
        search("nsga2", objective="ms")


# --------------------------------------------------------------------------------- searchers that learn from gradients


class Adds(nn.Module):
    """Its choice's number, through a batch norm whose running statistics must not drift."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(float(number)))
        self.norm = nn.BatchNorm1d(1)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.weight + 0 * self.norm(inputs)


class Toy:
    """A supernet whose outputs are the sum of its choices' numbers, and its loss: the squared distance to `wanted`."""

    def __init__(self, wanted: float, sizes: Sequence[int] = SIZES) -> None:
        self.space = Space("toy", tuple(sizes))
        self.net = Supernet(self.space, nn.Identity(), [[Adds(k) for k in range(n)] for n in sizes], nn.Identity())
        self.wanted = wanted
        self.costs: list[Cost] = [CostTable("mmac", 1.0, tuple(np.arange(n, dtype=float) for n in sizes))]

    def loss(self) -> Tensor:
        return ((self.net(torch.linspace(-1, 1, 8)[:, None]) - self.wanted) ** 2).mean() * 0.05

    def begin(self, name: str, limits: CostLimits | None = None, seed: int = 0, **given: Any) -> Any:
        searcher = make(name, **given)
        searcher.begin(SearchProblem.of(self.space, self.costs, limits), np.random.default_rng(seed))
        searcher.attach(self.net)
        return searcher


def weights_of(net: Supernet) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("state", ["single", "softmax", "gumbel_softmax"])
def test_differentiable_search_finds_what_the_loss_wants_and_touches_nothing_else(state: Any) -> None:
    toy = Toy(wanted=20.0)
    searcher = toy.begin("differentiable", lr=0.05)
    toy.net.set_forward_state(state, tau=2.0)
    before = weights_of(toy.net)
    torch.manual_seed(0)
    for _ in range(60):
        searcher.observe(toy.loss)
    assert same(before, weights_of(toy.net))
    assert (toy.net.state, toy.net.tau) == (state, 2.0)
    assert all(parameter.grad is None for parameter in toy.net.parameters())
    assert searcher.ask() == [tuple(toy.net.get_best_arch_param())] == [tuple(size - 1 for size in SIZES)]


def test_the_answer_of_differentiable_search_keeps_the_limits() -> None:
    toy = Toy(wanted=20.0)
    searcher = toy.begin("differentiable", CostLimits(max=ByUnit(mmac=6.0)), lr=0.05, queries=3)
    for _ in range(60):
        searcher.observe(toy.loss)
    asked = searcher.ask()
    assert len(asked) == 3
    assert (toy.costs[0].of(asked) <= 6.0).all()
    searcher.tell(asked, [1.0, 2.0, 3.0])
    assert searcher.best() == asked[2]
    assert searcher.ask() == []


def test_the_expected_cost_is_that_of_the_probabilities() -> None:
    """OSNASLib multiplies raw parameters: near 0 its expected cost is near nothing, and its gradient means nothing."""
    uniform = [torch.zeros(size).softmax(dim=0) for size in SIZES]
    assert float(expected_cost(MMAC, uniform)) == pytest.approx(MMAC.of(list(SPACE.everything())).mean())
    toy = Toy(wanted=20.0)
    searcher = toy.begin("differentiable", lr=0.05, target=3.0, target_weight=1000.0)
    for _ in range(100):
        searcher.observe(toy.loss)
    probabilities = [row.detach().reshape(-1).softmax(dim=0) for row in toy.net.arch_params]
    assert float(expected_cost(MMAC, probabilities)) == pytest.approx(3.0, abs=0.7)


def learned(name: str, steps: int, stop_at: int | None = None, **given: Any) -> dict[str, Any]:
    """The state after so many steps, with a stop and a fresh start in between or without."""
    toy = Toy(wanted=6.0)
    searcher = toy.begin(name, **given)
    for step in range(steps):
        if step == stop_at:
            kept, generator = searcher.state_dict(), searcher.generator.bit_generator.state
            toy = Toy(wanted=6.0)
            searcher = toy.begin(name, seed=77, **given)
            searcher.generator.bit_generator.state = generator
            searcher.load_state_dict(kept)
        if name == "generator":
            searcher.learn(toy.loss)
        else:
            searcher.observe(toy.loss)
    state: dict[str, Any] = searcher.state_dict()
    return {**state, "asked": searcher.ask()}


@pytest.mark.parametrize(("name", "given"), [("differentiable", {"lr": 0.05}), ("generator", {"width": 8})])
def test_what_was_learned_survives_a_stop(name: str, given: dict[str, Any]) -> None:
    whole, resumed = learned(name, 12, **given), learned(name, 12, stop_at=5, **given)
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_one_training_of_the_generator_answers_for_many_costs() -> None:
    toy = Toy(wanted=6.0)
    searcher = toy.begin("generator", steps=250, width=8, lr=5e-3)
    before = weights_of(toy.net)
    toy.net.set_forward_state("single")
    steps = 0
    while searcher.learn(toy.loss):
        toy.net.set_forward_state("single")  # what a uniform sampler does: the generator sets its own state each time
        steps += 1
    assert steps == 250
    assert same(before, weights_of(toy.net))
    written = {cost: likeliest(searcher.problem, searcher.scores(cost))[0] for cost in (1.0, 6.0, 11.0)}
    costs = toy.costs[0].of(list(written.values()))
    assert costs[0] < costs[1] < costs[2]
    for high in (4.0, 8.0):
        limited = toy.begin("generator", CostLimits(max=ByUnit(mmac=high)), width=8, queries=6)
        limited.load_state_dict({**searcher.state_dict(), "architectures": [], "qualities": [], "waiting": []})
        asked = limited.ask()
        assert len(asked) == len(set(asked)) == 6
        assert toy.costs[0].of(asked).max() <= high


def test_a_cost_without_a_gradient_is_refused() -> None:
    toy = Toy(wanted=6.0)
    toy.costs = [ListedCost("mmac", {each: float(np.prod(each)) for each in toy.space.everything()})]
    with pytest.raises(Refused, match="no sum over layers"):
        toy.begin("generator")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), number=st.integers(1, 30), high=st.floats(1.5, 11.0))
def test_the_likeliest_are_the_likeliest(seed: int, number: int, high: float) -> None:
    """The walk that large spaces need, against sorting all; without limits it is exact."""
    scores = [np.log(np.random.default_rng(seed).dirichlet(np.ones(size))) for size in SIZES]

    def total(each: Architecture) -> float:
        return sum(float(scores[layer][choice]) for layer, choice in enumerate(each))

    free, limited = problem(), problem(max={"mmac": high})
    exact = likeliest(free, scores, number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regimen.nas.likeliest._ENUMERABLE", 0)
        walked, kept = likeliest(free, scores, number), likeliest(limited, scores, number)
    assert [total(each) for each in walked] == pytest.approx([total(each) for each in exact])
    assert kept
    assert limited.allowed(kept).all()
    assert len(set(kept)) == len(kept)


# ----------------------------------------------------------------------------------------------------- tabular truth

LONG = pytest.mark.long
FACTS = [  # searcher, queries, largest MMAC, mean regret in published runs on this table
    ("random", 100, None, 0.314),
    ("genetic", 100, None, 0.193),
    ("local", 100, None, 0.128),
    ("evolution", 100, None, 0.099),
    pytest.param("random", 400, None, 0.192, marks=LONG),
    pytest.param("genetic", 400, None, 0.085, marks=LONG),
    pytest.param("local", 400, None, 0.065, marks=LONG),
    pytest.param("evolution", 400, None, 0.062, marks=LONG),
    ("random", 100, 60.0, 0.250),
    ("genetic", 100, 60.0, 0.203),
    ("local", 100, 60.0, 0.240),
    ("evolution", 100, 60.0, 0.161),
]


@cache
def macro(folder: Path) -> Table:
    return read_nas_bench_macro(folder / "nas_bench_macro" / "nas-bench-macro_cifar10.json")


def searched(table: Table, name: str, seed: int, limits: CostLimits, queries: int) -> Search:
    """Unique queries, each answered with the accuracy of one training."""
    at = SearchProblem.of(table.space, table.costs, limits)
    judge = TabularEvaluator(table, np.random.default_rng((seed, 1)))
    found = Search(make(name, queries=queries), at, judge, np.random.default_rng((seed, 0)))
    assert found.run()
    return found


@pytest.mark.parametrize(("name", "queries", "high", "known"), FACTS)
def test_searchers_are_as_good_as_known_on_the_truth(
    data_dir: Path, name: str, queries: int, high: float | None, known: float
) -> None:
    table, limits = macro(data_dir), CostLimits(max=ByUnit(mmac=high))
    regrets = []
    for seed in range(100):
        found = searched(table, name, seed, limits, queries)
        assert len(found.history) == queries
        regrets.append(table.regret(found.found().architecture, found.problem.allowed))
    assert np.mean(regrets) <= known + 3 * np.std(regrets, ddof=1) / 10


def test_one_search_of_nsga2_serves_many_limits_better_than_a_random_one(data_dir: Path) -> None:
    table = macro(data_dir)
    costs = table.costs[0].of(table.architectures)
    regrets: dict[str, list[float]] = {"nsga2": [], "random": []}
    for name, seed in [(name, seed) for name in regrets for seed in range(20)]:
        found = searched(table, name, seed, CostLimits(), 200)
        spent = found.costs_of([each.architecture for each in found.history])["mmac"]
        for high in (40.0, 50.0, 60.0, 80.0):
            kept = [each for each, cost in zip(found.history, spent, strict=True) if cost <= high]
            chosen = max(kept, key=lambda each: each.quality)
            best = table.mean[costs <= high].max()
            regrets[name].append(float(best - table.mean[table.row(chosen.architecture)]))
    assert np.mean(regrets["nsga2"]) < 0.7 * np.mean(regrets["random"])
