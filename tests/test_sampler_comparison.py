"""Samplers compared: what is told apart, what is not, how often by chance, and several paths a step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

import regimen
from regimen.analysis.samplers import compare_samplers
from regimen.analysis.samplersfigure import samplers_figure
from regimen.errors import DataError

Rows = NDArray[np.float64]


def supernets(truth: Rows, noise: float, seeds: int, draw: np.random.Generator, own: float = 0.0) -> Rows:
    """(S, N) estimates; `own` is the part of the error that all supernets of a sampler have in common."""
    shared = own * draw.normal(size=len(truth))
    return np.stack([truth + shared + noise * draw.normal(size=len(truth)) for _ in range(seeds)])


def test_a_much_better_sampler_is_told_apart_and_its_equal_is_not() -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(size=48)
    given = {name: supernets(truth, noise, 3, draw) for name, noise in (("good", 0.3), ("twin", 0.3), ("bad", 3.0))}
    found = compare_samplers(given, truth, {"parameters": draw.normal(size=48)})
    verdicts = {(pair.first, pair.second): pair.verdict for pair in found.pairs}
    assert verdicts[("good", "twin")] == "cannot be told apart"
    assert verdicts[("good", "bad")] == verdicts[("twin", "bad")] == "first is better"
    assert any(text.startswith("good ranks better than bad: tau 0.") for text in found.sentences())
    assert any(
        text.startswith("1 of 3 pairs cannot be told apart (48 networks, 3 supernets") for text in found.sentences()
    )
    against = {each.first: each.verdict for each in found.baselines}
    assert against["good"] == against["twin"] == "first is better"


def test_the_order_of_names_turns_a_difference_round() -> None:
    draw = np.random.default_rng(1)
    truth = draw.normal(size=30)
    good, bad = supernets(truth, 0.3, 3, draw), supernets(truth, 3.0, 3, draw)
    (one,), (other,) = (
        compare_samplers(given, truth).pairs for given in ({"a": good, "b": bad}, {"b": bad, "a": good})
    )
    assert one.kendall.value == pytest.approx(-other.kendall.value)
    assert one.kendall.low == pytest.approx(-other.kendall.high)
    assert one.p == pytest.approx(other.p)
    assert [one.verdict, other.verdict] == ["first is better", "second is better"]
    assert compare_samplers({"b": bad, "a": good}, truth).sentences()[0].startswith("a ranks better than b: tau 0.")


def test_values_are_means_over_the_supernets() -> None:
    draw = np.random.default_rng(2)
    trials = draw.uniform(size=(20, 2))
    mean = trials.mean(axis=1)
    given = {"a": supernets(mean, 0.1, 2, draw), "b": supernets(mean, 0.2, 2, draw)}
    found = compare_samplers(given, trials)
    for result, rows in zip(found.results, given.values(), strict=True):
        assert result.by_seed == pytest.approx([kendalltau(row, mean).statistic for row in rows])
        assert result.kendall.value == pytest.approx(np.mean(result.by_seed))
        assert result.mean.value == pytest.approx(rows.mean())
        assert result.regret.mean == pytest.approx(np.mean([mean.max() - mean[row.argmax()] for row in rows]))
        assert result.kendall.low < result.kendall.value < result.kendall.high
    assert found.ceiling == pytest.approx(kendalltau(trials[:, 0], trials[:, 1]).statistic)
    assert found == compare_samplers(given, trials), "a function of what it was given"


def test_one_sampler_twice_differs_by_nothing() -> None:
    draw = np.random.default_rng(3)
    truth = draw.normal(size=12)
    rows = supernets(truth, 1.0, 2, draw)
    (pair,) = compare_samplers({"a": rows, "b": rows}, truth).pairs
    assert (pair.kendall.value, pair.kendall.low, pair.kendall.high, pair.p) == (0, 0, 0, 1)


def test_a_supernet_that_finds_all_networks_equal_ranks_as_chance_does() -> None:
    draw = np.random.default_rng(7)
    truth = draw.normal(size=32)
    found = compare_samplers({"flat": np.full((3, 32), 0.1), "good": supernets(truth, 0.3, 3, draw)}, truth)
    assert list(found.results[0].by_seed) == [0.0] * 3
    assert found.pairs[0].verdict == "second is better"
    free = compare_samplers({"flat": np.full((3, 32), 0.1)}, truth, {"parameters": draw.normal(size=32)})
    assert free.sentences() == ["No sampler ranks better than counting parameters."]


@pytest.mark.parametrize(("noise", "own"), [(0.7, 0.3), (0.1, 1.0), (1.0, 0.0)])
def test_equal_samplers_are_rarely_told_apart(noise: float, own: float) -> None:
    """Of 100 comparisons of two draws of the same, some 5 may have p below 0.05; 12 would be chance once in 200."""
    draw, count = np.random.default_rng(4), 0
    for _ in range(100):
        truth = draw.normal(size=32)
        given = {name: supernets(truth, noise, 3, draw, own) for name in "ab"}
        count += compare_samplers(given, truth, resamples=200).pairs[0].p < 0.05
    assert count <= 11


def test_more_pairs_need_more_evidence() -> None:
    draw = np.random.default_rng(5)
    truth = draw.normal(size=32)
    given = {str(number): supernets(truth, 1 + number / 3, 3, draw) for number in range(5)}
    found = compare_samplers(given, truth)
    assert all(pair.corrected_p >= pair.p for pair in found.pairs)
    assert min(pair.corrected_p for pair in found.pairs) == pytest.approx(min(1, 10 * min(p.p for p in found.pairs)))
    untold = [pair for pair in found.pairs if pair.verdict == "cannot be told apart"]
    assert 0 < len(untold) < len(found.pairs)
    steadiest = min(untold, key=lambda pair: pair.error)
    assert max(steadiest.error, abs(steadiest.kendall.value)) < found.visible


@pytest.mark.parametrize(
    ("estimates", "truth", "words"),
    [
        ({"a": np.zeros((2, 9)), "b": np.zeros((3, 9))}, np.arange(9), r"a \(2, 9\), b \(3, 9\)"),
        ({"a": np.zeros((1, 9))}, np.arange(9), "2 seeds and 5 networks or more"),
        ({"a": np.zeros((2, 4))}, np.arange(4), "2 seeds and 5 networks or more"),
        ({}, np.arange(4), "no samplers"),
        ({"a": np.zeros((2, 9))}, np.arange(8), "9 networks, and truth has 8"),
        ({"a": np.full((2, 9), np.nan)}, np.arange(9), "in a that is not finite"),
    ],
)
def test_what_cannot_be_compared_is_said(estimates: Mapping[str, Rows], truth: Rows, words: str) -> None:
    with pytest.raises(DataError, match=words):
        compare_samplers(estimates, truth)


def test_the_figure_has_a_row_a_sampler_and_a_dot_a_supernet() -> None:
    draw = np.random.default_rng(6)
    truth = draw.normal(size=(16, 2))
    given = {name: supernets(truth.mean(axis=1), 1.0, 3, draw) for name in ("<mine>", "b")}
    found = compare_samplers(given, truth, {"parameters": draw.normal(size=16)})
    drawing = samplers_figure({"100 passes": found, "300 passes": found})
    assert "&lt;mine&gt;</text>" in drawing
    assert drawing.count("<circle") == 2 * 2 * (3 + 1) + 2
    assert "counting parameters</text>" in drawing
    assert "two trainings</text>" in drawing


def test_paths_of_a_uniform_step_are_passes_of_the_budget(tmp_path: Path) -> None:
    strategy = {"name": "uniform", "paths": 3, "search": None, "retrain": None, "batch_size": 16}
    task = {"name": "digits", "supernet": {"space": {"name": "chain", "widths": [4, 6]}}}
    record = regimen.run(
        {"task": task, "strategy": strategy, "budget": {"passes": 12}, "threads": 1, "output": str(tmp_path)}
    )
    assert record.curve("train/loss")[-1].step == 4
