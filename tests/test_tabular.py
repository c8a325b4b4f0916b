"""Tables of architectures: NAS-Bench-Macro in full, our own files, and what is wrong in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from regimen.errors import DataError, SpecError
from regimen.nas.cost import CostTable
from regimen.nas.pareto import front
from regimen.nas.searchproblem import ByUnit, CostLimits, SearchProblem, exact
from regimen.nas.tabular import ListedCost, Table, TabularEvaluator, macro_space, read_nas_bench_macro, read_table


@pytest.fixture(scope="module")
def macro(data_dir: Path) -> Table:
    return read_nas_bench_macro(data_dir / "nas_bench_macro" / "nas-bench-macro_cifar10.json")


def test_the_cost_tables_give_all_6561_flops_and_parameters(macro: Table, data_dir: Path) -> None:
    entries = json.loads((data_dir / "nas_bench_macro" / "nas-bench-macro_cifar10.json").read_text())
    names = ["".join(map(str, architecture)) for architecture in macro.architectures]
    assert len(names) == len(set(names)) == 6561
    for cost, key, scale in zip(macro.costs, ("flops", "params"), (1e6, 1), strict=True):
        assert isinstance(cost, CostTable)
        known = np.array([entries[name][key] for name in names]) / scale
        np.testing.assert_allclose(cost.of(macro.architectures), known, rtol=1e-12)
        assert cost.reach() == pytest.approx((known.min(), known.max()))


@pytest.mark.parametrize(
    ("high", "architecture", "quality"),
    [
        (20, "00100100", 81.37),
        (30, "10101100", 89.38),
        (40, "11101200", 91.51),
        (50, "21201200", 92.17),
        (60, "21202200", 92.567),
        (80, "22222200", 93.08),
        (None, "22212202", 93.1267),
    ],
)
def test_the_best_within_a_limit_is_as_published(
    macro: Table, high: float | None, architecture: str, quality: float
) -> None:
    at = SearchProblem.of(macro.space, macro.costs, CostLimits(max=ByUnit(mmac=high)))
    best = tuple(int(digit) for digit in architecture)
    assert macro.regret(best, at.allowed) == pytest.approx(0, abs=1e-9)
    assert macro.mean[macro.row(best)] == pytest.approx(quality, abs=0.01)


def test_the_front_has_35_architectures(macro: Table) -> None:
    assert len(front(macro.mean, exact(macro.costs[0].of(macro.architectures)))) == 35


def test_forms_of_one_network_have_one_training(macro: Table) -> None:
    """The file itself says which architectures are one network: their three accuracies are the same."""
    forms: dict[tuple[int, ...], set[tuple[float, ...]]] = {}
    for architecture, trials in zip(macro.architectures, macro.trials_NT, strict=True):
        forms.setdefault(macro.space.canonical(architecture), set()).add(tuple(trials))
    assert len(forms) == len({next(iter(each)) for each in forms.values()}) == 3969
    assert all(len(each) == 1 for each in forms.values())
    assert macro_space().canonical((2, 2, 2, 1, 2, 2, 0, 2)) == (2, 2, 2, 1, 2, 2, 2, 0)
    assert macro_space().canonical((0, 1, 0, 2, 1, 0, 0, 2)) == (0, 1, 0, 2, 1, 0, 2, 0)


def test_a_mean_or_one_trial(macro: Table) -> None:
    asked = list(macro.architectures[:50])
    assert TabularEvaluator(macro).evaluate(asked) == macro.mean[:50].tolist()
    single = TabularEvaluator(macro, np.random.default_rng(0)).evaluate(asked)
    assert all(quality in macro.trials_NT[row] for row, quality in enumerate(single))
    assert single != macro.trials_NT[:50, 0].tolist()


ROWS = [("0-0", 1.0, 5.0), ("0-1", 2.0, 6.0), ("1-0", 3.0, 8.0), ("1-1", 4.0, 9.0)]


def written(folder: Path, kind: str, rows: list[tuple[str, float, float]] = ROWS) -> Path:
    path = folder / f"known.{kind}"
    if kind == "json":
        path.write_text(json.dumps([{"architecture": a, "quality": q, "mmac": m} for a, q, m in rows]))
    else:
        path.write_text("architecture,quality,mmac\n" + "".join(f"{a},{q},{m}\n" for a, q, m in rows))
    return path


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_our_own_files(tmp_path: Path, kind: str) -> None:
    table = read_table(written(tmp_path, kind))
    assert table.space.sizes == (2, 2)
    assert TabularEvaluator(table).evaluate([(1, 0), (0, 1)]) == [3.0, 2.0]
    (cost,) = table.costs
    assert isinstance(cost, CostTable)
    assert cost.of([(0, 0), (1, 1)]) == pytest.approx([5.0, 9.0])


def test_several_trials_and_a_cost_that_is_no_sum(tmp_path: Path) -> None:
    path = tmp_path / "known.csv"
    path.write_text("architecture,quality_0,quality_1,ms\n0-0,1,2,5\n0-1,2,4,6\n1-0,3,3,7\n1-1,4,8,50\n")
    table = read_table(path)
    assert table.mean.tolist() == [1.5, 3.0, 3.0, 6.0]
    (cost,) = table.costs
    assert isinstance(cost, ListedCost)
    assert cost.of([(1, 1), (0, 0)]).tolist() == [50.0, 5.0]
    assert cost.reach() == (5.0, 50.0)
    with pytest.raises(SpecError, match=r"1-2: has no ms in the table"):
        cost.of([(1, 2)])
    with pytest.raises(SpecError, match=r"1-2: is not among the 4 architectures"):
        TabularEvaluator(table).evaluate([(1, 2)])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no architecture"),
        ("architecture,quality\n", "holds no architecture"),
        ("architecture,accuracy\n0-1,3\n", "csv:2: has the columns architecture, accuracy"),
        ("arch,quality\n0-1,3\n", "has the columns arch, quality"),
        ("architecture,mmac\n0-1,3\n", "has the columns architecture, mmac"),
        ("architecture,quality\n0-1,good\n", r"csv:2: has the quality 'good'"),
        ("architecture,quality\n0-1,3\n0-2,nan\n", r"csv:3: has the quality 'nan'"),
        ("architecture,quality\n0-1,3\n0-x,3\n", r"csv:3: has the architecture '0-x'"),
        ("architecture,quality\n0-1,3\n0--1,3\n", r"csv:3: has the architecture '0--1'"),
        ("architecture,quality\n0-1,3\n0-1-2,3\n", r"csv:3: has 3 layers; the first has 2"),
        ("architecture,quality\n0-1,3\n0-1,3\n", "has 0-1 twice"),
        ("architecture,quality\n0-1\n", "has the quality None"),
        ("architecture,quality\n0-1,3\n1-1,3,4\n", r"csv:3: .*one too many"),
        ("architecture,quality\n0-1,3,4\n", r"csv:2: .*one too many"),
    ],
)
def test_a_wrong_file_names_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "is no list of objects"),
        ("{}", "is no list of objects"),
        ("[", "cannot be read"),
        ('[{"architecture": "0", "quality": 1}, {"architecture": "1"}]', "entry 2: has the columns architecture"),
        ('[{"architecture": [0, 1], "quality": null}]', "entry 1: has the quality None"),
    ],
)
def test_a_wrong_json_names_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "holds no object of architectures"),
        ("{", "cannot be read"),
        ('{"0000000": {"test_acc": [1], "params": 1, "flops": 1}}', "0000000: cannot be read"),
        ('{"00000003": {"test_acc": [1], "params": 1, "flops": 1}}', "00000003: cannot be read"),
        ('{"00000000": {"params": 1, "flops": 1}}', "00000000: cannot be read"),
        ('{"00000000": [1]}', "00000000: cannot be read"),
    ],
)
def test_what_is_no_nas_bench_macro_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "macro.json"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_nas_bench_macro(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_nas_bench_macro(tmp_path / "absent.json")
