"""The ranking report: its numbers against SciPy's and by hand, and what it says plainly."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regimen.errors import DataError
from regimen.nas.agreement import in_top, kendall, kendall_of_resamples, spearman_of_resamples
from regimen.nas.ranking import Ceiling, ranking_report
from regimen.nas.rankingfigure import ranking_figure
from regimen.nas.tabular import read_nas_bench_macro

PAIRS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=30)


@settings(deadline=None)
@given(PAIRS)
def test_tau_and_rho_are_scipys_ties_included(pairs: list[tuple[int, int]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = np.array(pairs, dtype=float).T
    if len(set(first)) < 2 or len(set(second)) < 2:
        assert np.isnan(kendall(first, second))
        return
    rho = spearman_of_resamples(first[None], second, np.ones((1, len(first))))[0, 0]
    assert kendall(first, second) == pytest.approx(stats.kendalltau(first, second)[0])
    assert rho == pytest.approx(stats.spearmanr(first, second)[0])


@settings(max_examples=30, deadline=None)
@given(PAIRS, st.integers(0, 1000))
def test_a_resample_is_as_if_its_rows_were_written_out(pairs: list[tuple[int, int]], seed: int) -> None:
    first, second = np.array(pairs, dtype=float).T
    times = np.random.default_rng(seed).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), 3)
    by_weight = kendall_of_resamples(first[None], second, times)[0]
    ranked = spearman_of_resamples(first[None], second, times)[0]
    for row, tau, rho in zip(times, by_weight, ranked, strict=True):
        one, two = np.repeat(first, row), np.repeat(second, row)
        assert tau == pytest.approx(kendall(one, two), nan_ok=True)
        written_out = spearman_of_resamples(one[None], two, np.ones((1, len(one))))[0, 0]
        assert rho == pytest.approx(written_out, nan_ok=True)


def test_many_architectures_are_resampled_to_first_order(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=800)
    coarse = np.maximum(truth + generator.normal(size=800), 0.3)  # many are equal: few pairs count
    values = np.stack([coarse, -truth])
    times = generator.multinomial(800, np.full(800, 1 / 800), 200)
    exact = kendall_of_resamples(values, truth, times)
    monkeypatch.setattr("regimen.nas.agreement._EXACT", 0)
    near = kendall_of_resamples(values, truth, times)
    assert np.abs(near - exact).max() < 0.01
    assert near.std(axis=1) == pytest.approx(exact.std(axis=1), rel=0.05, abs=1e-9)
    assert kendall_of_resamples(values, truth, np.ones((1, 800)))[0, 0] == pytest.approx(kendall(coarse, truth))


def test_the_best_by_hand() -> None:
    """20 architectures, the estimates swap the two best, and put the third where the last is."""
    truth = np.arange(20.0)
    estimates = truth.copy()
    estimates[[19, 18]] = estimates[[18, 19]]
    found = ranking_report(estimates, truth).estimates
    assert found.precision_5 == 0.0
    assert found.precision_10 == 1.0
    assert found.worst_10 == 1.0
    assert found.regret == 1.0
    assert found.kendall_top == pytest.approx(4 / 6)  # of 4, one of 6 pairs is turned round
    assert found.kendall.value == pytest.approx(1 - 2 / 190)


def test_equal_estimates_are_drawn_at_random() -> None:
    """A supernet that gives all the same number chooses no better than chance, in whatever order they come."""
    truth = np.arange(20.0)
    for order in (truth, truth[::-1]):
        found = ranking_report(np.zeros(20), order).estimates
        assert found.precision_10 == pytest.approx(0.1)
        assert found.regret == pytest.approx(9.5)
        assert np.isnan(found.kendall.value)
    assert in_top(np.zeros(4), 0.5).tolist() == [0.5] * 4


def noisy(strength: float, size: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(estimates, truth of two trainings, parameters)."""
    generator = np.random.default_rng(seed)
    quality = generator.normal(size=size)
    estimates = quality + strength * generator.normal(size=size)
    trials = quality[:, None] + 0.2 * generator.normal(size=(size, 2))
    return estimates, trials, quality + generator.normal(size=size)


@pytest.mark.parametrize(
    ("strength", "verdict", "said"),
    [
        (0.2, "better", "rank better than counting parameters"),
        (1.0, "not better", "rank no better than counting parameters"),
        (2.5, "worse", "rank worse than counting parameters"),
    ],
)
def test_it_says_plainly_whether_counting_parameters_ranks_as_well(strength: float, verdict: str, said: str) -> None:
    estimates, trials, parameters = noisy(strength)
    report = ranking_report(estimates, trials, {"parameters": parameters})
    (baseline,) = report.baselines
    assert baseline.verdict == verdict
    assert said in report.sentences()[0]
    tau = report.estimates.kendall
    assert tau.low < tau.value < tau.high
    if verdict == "not better":  # a difference that may be chance is neither
        assert baseline.advantage.low < 0 < baseline.advantage.high
    assert baseline.advantage.value == pytest.approx(tau.value - baseline.agreement.kendall.value)


def test_an_order_by_chance_is_called_that() -> None:
    generator = np.random.default_rng(3)
    report = ranking_report(generator.normal(size=60), generator.normal(size=60))
    assert "rank no better than a random order does" in report.sentences()[0]
    assert report.ceiling is None


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """tau of two normal variables with correlation r is 2 arcsin(r) / pi."""
    held = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        first, second = generator.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=80).T
        tau = ranking_report(first, second, seed=seed, resamples=300).estimates.kendall
        held += tau.low <= 2 * np.arcsin(0.6) / np.pi <= tau.high
    assert 88 <= held <= 100


def test_what_could_not_be_judged_is_last_and_counted() -> None:
    truth = np.arange(10.0)
    estimates = truth.copy()
    estimates[9] = np.nan
    report = ranking_report(estimates, truth)
    assert report.num_unjudged == 1
    assert report.estimates.regret == 1.0
    assert report.estimates.kendall.value == pytest.approx(1 - 2 * 9 / 45)
    assert "1 could not be judged" in report.sentences()[-1]


def test_the_same_numbers_give_the_same_report() -> None:
    estimates, trials, parameters = noisy(1.0)
    first, second = (ranking_report(estimates, trials, {"parameters": parameters}, seed=4) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("estimates", "truth", "baselines", "said"),
    [
        ([1, 2], [1, 2], {}, "has 2 architectures"),
        ([1, 2, 3, 4, 5], [1, 2, 3], {}, "5 estimates, and truth has 3"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, np.nan], {}, "not finite"),
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], {"parameters": [1]}, "parameters has 1"),
    ],
)
def test_what_cannot_be_ranked_is_said(
    estimates: list[float], truth: list[float], baselines: dict[str, list[float]], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        ranking_report(estimates, truth, baselines)


def test_the_figure_has_a_dot_an_architecture() -> None:
    estimates, trials, _ = noisy(1.0, size=40)
    estimates[3] = np.nan
    tau = ranking_report(estimates, trials).estimates.kendall
    drawn = ranking_figure(estimates, trials, [f"a<{n}" for n in range(40)], tau=tau)
    assert drawn.count("<circle") == 39
    assert "a&lt;0: estimate" in drawn
    assert "nan" not in drawn.lower()
    places = [float(number) for number in re.findall(r'c[xy]="([^"]+)"', drawn)]
    assert 0 <= min(places) <= max(places) <= 480


def test_the_ceiling_and_the_baselines_of_nas_bench_macro(data_dir: Path) -> None:
    table = read_nas_bench_macro(data_dir / "nas_bench_macro" / "nas-bench-macro_cifar10.json")
    macs, parameters = (cost.of(table.architectures) for cost in table.costs)
    report = ranking_report(macs, table.trials_NT, {"parameters": parameters}, resamples=50)
    assert report.estimates.kendall.value == pytest.approx(0.5560, abs=2e-4)
    assert report.baselines[0].agreement.kendall.value == pytest.approx(0.2176, abs=1e-4)
    assert isinstance(report.ceiling, Ceiling)
    assert report.ceiling.kendall == pytest.approx(0.8813, abs=1e-3)
