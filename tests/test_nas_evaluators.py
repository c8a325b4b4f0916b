"""What judges architectures is a setting: each runs, is resumed to the same numbers, and refuses what has no use."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import regimen
from regimen.cli import main
from regimen.errors import DataError, Refused, SpecError, Stopped
from regimen.events import Event, Metrics
from regimen.execute import prepare
from regimen.nas.evaluating.choice import EvaluatorSettings
from regimen.nas.evaluating.supernet_evaluator import rows_at_once
from regimen.nas.evaluating.zero_cost import PROXIES
from regimen.records.reader import Record
from tiny_runs import only_run

CHAIN = {"name": "chain", "widths": [4, 6, 6], "stride_at": [1]}
TINY = {"name": "digits", "supernet": {"space": CHAIN}}
SHORT = {"name": "standalone", "epochs": 0.2, "seeds": 2}


def description(evaluator: Any = "supernet", **strategy: Any) -> dict[str, Any]:
    search = {"name": "genetic", "queries": 6, "population": 4, "cost": {"max": {"mmac": 0.02}}}
    settings = {"name": "uniform", "search": search, "retrain": None, "batch_size": 32, "evaluator": evaluator}
    made = {"task": TINY, "strategy": {**settings, **strategy}, "threads": 1}
    trained = EvaluatorSettings.model_validate(evaluator).needs_supernet
    return {**made, "budget": {"steps": 3}} if trained else made


def notes(record: Record) -> str:
    return " ".join(record.notes)


def left(record: Record, name: str) -> Any:
    return json.loads((record.folder / "artifacts" / name).read_text())


# ------------------------------------------------------------------ the same searcher on each


@pytest.mark.parametrize("evaluator", ["supernet", SHORT, *PROXIES], ids=str)
def test_the_same_searcher_runs_on_each(evaluator: Any) -> None:
    record = regimen.run(description(evaluator))
    chosen = EvaluatorSettings.model_validate(evaluator)
    history = left(record, "search.json")["history"]
    assert len(history) == 6
    assert record.final[f"search/{chosen.metric}"] == max(quality for _, quality in history if quality is not None)
    assert [point.value for point in record.curve(f"search/{chosen.metric}")] == [q for _, q in history]
    trained = (record.folder / "artifacts" / "supernet.safetensors").exists()
    assert trained == chosen.needs_supernet
    assert ("no supernet is trained" in notes(record)) != trained
    assert record.final["found/mmac"] <= 0.02


def test_short_trainings_are_those_of_the_settings() -> None:
    """The quality is the mean over seeds, and a number of rows for searching over their number."""
    found = left(regimen.run(description(SHORT)), "search.json")["history"]
    other = left(regimen.run(description({**SHORT, "epochs": 1})), "search.json")["history"]
    assert found[0][0] == other[0][0]
    assert found != other
    for _, quality in found:
        assert quality * 300 * 2 == pytest.approx(round(quality * 300 * 2))


def test_a_searcher_that_learns_from_the_supernet_still_gets_one() -> None:
    """And what it found is judged by the evaluator."""
    asked = description("synflow", name="differentiable", search={"name": "differentiable", "queries": 2})
    record = regimen.run({**asked, "budget": {"steps": 3}})
    assert (record.folder / "artifacts" / "supernet.safetensors").exists()
    assert record.final["search/score"] > 1
    assert "budget" not in notes(record)


def test_a_budget_without_a_supernet_is_said() -> None:
    findings = prepare({**description("snip"), "budget": {"epochs": 3}}).findings
    assert [str(each) for each in findings] == [
        "warning: budget: is that of a supernet, and none is trained: snip needs none. "
        "Remove it; the search has `strategy.search.queries`."
    ]
    assert not prepare(description("snip")).findings


# ------------------------------------------------------------------ stopped and resumed


@pytest.mark.parametrize(
    ("asked", "at"),
    [
        (description(SHORT), "search/accuracy"),
        (description("naswot"), "search/score"),
        (description("naswot", rank=5, rank_epochs=0.2), "ranking/accuracy"),
    ],
    ids=["in a round of trainings", "between rounds", "in the ranking"],
)
def test_a_stopped_search_ends_identically(asked: dict[str, Any], at: str) -> None:
    whole = regimen.run({**asked, "output": "whole"})
    with pytest.raises(Stopped):
        regimen.run({**asked, "output": "part"}, listeners=[stopping_at(at, 3)])
    stopped = regimen.load(only_run(Path("part")))
    record = regimen.resume(stopped.folder)
    assert (record.status, len(record.resumes)) == ("completed", 1)
    assert record.identity == whole.identity
    assert record.final == whole.final
    for name in ("search.json", "ranking.json"):
        files = [each.folder / "artifacts" / name for each in (whole, record)]
        assert files[0].exists() == files[1].exists()
        assert not files[0].exists() or files[0].read_bytes() == files[1].read_bytes()


def stopping_at(key: str, number: int) -> Callable[[Event], None]:
    """Asks for a stop when this metric has been recorded so often."""
    seen = itertools.count(1)

    def listen(event: Event) -> None:
        if isinstance(event, Metrics) and key in event.values and next(seen) == number:
            (only_run(Path("part")) / "stop").touch()

    return listen


def test_trainings_are_kept_inside_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop in the first round of four networks, two trainings each, loses the one that was under way alone."""
    from regimen.nas.alone import Alone

    trained: list[Any] = []
    accuracy = Alone.accuracy

    def counted(self: Alone, architecture: Any, seed: int, stage: Any) -> float:
        trained.append((architecture, seed))
        if len(trained) == 3:
            (only_run() / "stop").touch()
        return accuracy(self, architecture, seed, stage)

    monkeypatch.setattr(Alone, "accuracy", counted)
    with pytest.raises(Stopped):
        regimen.run(description(SHORT))
    assert 3 <= len(trained) < 8, "whether it was asked to stop is looked at every 20 ms"
    regimen.resume(only_run())
    assert len(set(trained)) == 6 * 2
    assert len(trained) - len(set(trained)) <= 1


# ------------------------------------------------------------------ the ranking and what is left


def test_the_ranking_says_whether_the_evaluator_is_of_use() -> None:
    record = regimen.run(description("synflow", rank=6, rank_epochs=0.5, rank_seeds=3))
    ranking = left(record, "ranking.json")
    assert [len(network["alone"]) for network in ranking["networks"]] == [3] * 6
    assert len(record.curve("ranking/accuracy")) == 18
    assert set(ranking["baselines"]) == {"parameters", "multiply-adds"}
    assert record.final["ranking/ceiling"] == ranking["ceiling"]["kendall"]
    assert record.final["ranking/tau"] == ranking["estimates"]["kendall"]["value"]
    assert all(sentence in notes(record) for sentence in ranking["sentences"])
    assert ranking["sentences"][0].startswith("synflow ranks no better than")
    page = (record.folder / "artifacts" / "ranking.html").read_text()
    assert "How well synflow ranks networks" in page
    assert page.count("<circle") == 2 * 6  # beside the figure of the scores is that of the parameters
    assert "another training" in page
    assert "nan" not in page.lower()


def test_equal_estimates_leave_a_page_without_nan() -> None:
    from regimen.nas.ranking import ranking_report
    from regimen.nas.rankingpage import write_ranking

    truth = [[float(number)] for number in range(8)]
    report = ranking_report([0.5] * 8, truth, {"parameters": [1.0] * 8})
    networks, equal = [(number,) for number in range(8)], {"parameters": [1.0] * 8}
    write_ranking(Path(), report, networks, [0.5] * 8, truth, "score", "The proxy", equal)
    assert json.loads(Path("ranking.json").read_text())["estimates"]["kendall"]["value"] is None
    assert "nan" not in Path("ranking.html").read_text().lower()


def test_the_found_network_is_left_with_its_weights() -> None:
    """They give the accuracy that was recorded, in the network that the space makes."""
    from safetensors.torch import load_file

    record = regimen.run(description("synflow", retrain=1))
    task = prepare(description("synflow")).task
    architecture = tuple(left(record, "search.json")["found"]["architecture"])
    network = task.space.make_network(architecture, task.inputs())  # type: ignore[attr-defined]
    network.load_state_dict(load_file(record.folder / "artifacts" / "network.safetensors"))
    rows = task.splits.test  # type: ignore[attr-defined]
    with torch.no_grad():
        right = network.eval()(rows.inputs).argmax(dim=1) == rows.classes
    assert float(right.float().mean()) == pytest.approx(record.final["test/accuracy"])


def test_rows_of_language_models_are_looked_at_few_at_a_time() -> None:
    """A batch of 500 rows of 512 tokens would have outputs of 33 GB for 32,000 words."""
    texts, pictures = torch.zeros(600, 512), torch.zeros(600)
    assert rows_at_once(texts, 32_000, 500) * 512 * 32_000 * 4 <= 128 * 2**20
    assert rows_at_once(texts, 10**9, 500) == 1
    assert rows_at_once(pictures, 1000, 500) == 500


def test_the_report_tells_the_stages_apart() -> None:
    record = regimen.run({**description(retrain=2, rank=5, rank_epochs=0.2), "log": {"every": 1}})
    page = (record.folder / "report.html").read_text()
    for said in (
        "of the networks that the search judged",
        "of the found network, trained alone",
        "Kendall",
        "found/mmac",
    ):
        assert page.count(said) >= 1
    assert "search/best" not in page
    assert "ranking/accuracy" not in page
    assert "valid/accuracy is the mean over 8 random networks" in notes(record)


# ------------------------------------------------------------------ wrong settings


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ({"evaluator": "synfow"}, r"is 'synfow'.*Did you mean 'synflow'"),
        ({"evaluator": {"name": "synflow", "epochs": 3}}, "is 3, and has no effect on synflow"),
        ({"evaluator": {"name": "supernet", "seeds": 3}}, "is 3, and has no effect on supernet"),
        ({"evaluator": {"name": "standalone", "rows": 64}}, "is 64, and has no effect on standalone"),
        ({"evaluator": {"name": "standalone", "epochs": 0}}, "expected more than 0"),
        ({"evaluator": {"name": "naswot", "row": 3}}, "is not a setting. Did you mean 'rows'"),
        ({"evaluator": [1]}, "expected settings below it: name, epochs, rows, seeds"),
    ],
)
def test_wrong_settings_are_named(strategy: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecError, match=said):
        prepare(description() | {"strategy": {**description()["strategy"], **strategy}})


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ({"search": None}, "strategy.evaluator: is synflow, and nothing is searched"),
        ({"batch_norm": "running"}, "strategy.batch_norm: is 'running', and no architecture is judged with"),
        ({"rank": 3}, "strategy.rank: is 3; fewer than 5"),
    ],
)
def test_what_has_no_effect_is_refused(strategy: dict[str, Any], said: str) -> None:
    problems = [str(problem) for problem in prepare(description("synflow", **strategy)).errors]
    assert len(problems) == 1
    assert said in problems[0]


def test_too_small_a_space_is_not_ranked_for_nothing() -> None:
    asked = description("synflow", rank=5, search={"name": "random", "queries": 2})
    asked["task"] = {"name": "digits", "supernet": {"space": {"name": "chain", "widths": [4], "stride_at": []}}}
    (problem,) = prepare(asked).errors
    assert "the space has 3 different networks, too few to rank" in str(problem)


def test_proxies_of_texts_are_refused() -> None:
    task = {"name": "lora_ranks", "text": {"name": "sorting", "train_rows": 16, "valid_rows": 8}, "max_length": 32}
    asked = {"task": task, "strategy": {"name": "uniform", "evaluator": "snip", "batch_size": 4}}
    (problem,) = prepare(asked).errors
    assert "is snip, which scores networks of pictures; lora_ranks has texts" in str(problem)


# ------------------------------------------------------------------ tables


def write_table(name: str = "table.csv", choices: int = 3) -> Path:
    """Two layers; the second choice of each is best, two trials each."""
    lines = ["architecture,quality_0,quality_1,mmac"]
    for first, second in itertools.product(range(choices), range(3)):
        quality = 10 - (first - 1) ** 2 - (second - 1) ** 2
        lines.append(f"{first}-{second},{quality},{quality + 0.1},{1 + first + 2 * second}")
    Path(name).write_text("\n".join(lines) + "\n")
    return Path(name)


def on_table(file: Path | str, most: float = 7.0, **strategy: Any) -> dict[str, Any]:
    search = {"name": "random", "queries": 20, "cost": {"max": {"mmac": most}}}
    return {
        "task": {"name": "architecture_table", "file": str(file)},
        "strategy": {"name": "uniform", "search": search, **strategy},
    }


def test_a_table_is_searched_with_the_true_regret() -> None:
    record = regimen.run(on_table(write_table()))
    assert record.final["found/quality"] == pytest.approx(10.05)
    assert (record.final["found/regret"], record.final["found/mmac"]) == (0, 4)
    assert record.final["search/quality"] in (10, 10.1)
    assert len(left(record, "search.json")["history"]) == 9
    cheap = regimen.run(on_table(write_table(), most=3))
    assert cheap.final["found/quality"] == pytest.approx(9.05)
    assert cheap.final["found/regret"] == 0  # of those that the limit allows
    mean = regimen.run({**on_table("table.csv"), "task": {**on_table("table.csv")["task"], "judged_by": "mean"}})
    assert mean.final["search/quality"] == pytest.approx(10.05)


def test_a_stopped_search_of_a_table_draws_the_same_trials() -> None:
    asked = on_table(write_table())
    whole = regimen.run({**asked, "output": "whole"})
    with pytest.raises(Stopped):
        regimen.run({**asked, "output": "part"}, listeners=[stopping_at("search/quality", 3)])
    record = regimen.resume(only_run(Path("part")))
    assert record.identity == whole.identity
    assert record.final == whole.final


def test_nas_bench_macro_is_a_run(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = data_dir / "nas_bench_macro" / "nas-bench-macro_cifar10.json"
    record = regimen.run(on_table(file, most=60, search={"name": "evolution", "queries": 400}))
    assert record.final["found/quality"] == pytest.approx(93.1267, abs=0.5)
    assert 0 <= record.final["found/regret"] < 0.5
    Path("table.yaml").write_text(json.dumps(on_table(file, most=60)))
    assert main(["run", "table.yaml"]) == 0
    assert "found/regret" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"retrain": 3}, "strategy.retrain: has no effect: nothing is trained"),
        ({"evaluator": "synflow"}, "strategy.evaluator: has no effect"),
        ({"search": None}, "strategy.search: is null"),
        ({"search": {"name": "generator"}}, "is generator, which learns from a supernet, and a table has none"),
        ({"search": {"name": "random", "cost": {"max": {"ms": 2}}}}, "cost of table is not known. Limit mmac"),
        ({"search": {"name": "random", "cost": {"max": {"mmac": 0.5}}}}, "architectures of table have 1 to 7"),
    ],
)
def test_what_a_table_cannot_do(change: dict[str, Any], said: str) -> None:
    (problem,) = prepare(on_table(write_table(), **change)).errors
    assert said in str(problem)


def test_tables_that_lack_something_are_refused() -> None:
    path = write_table()
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    (problem,) = prepare(on_table(path)).errors
    assert "task.file table.csv: lists 7 of 9 architectures" in str(problem)
    (budget,) = prepare({**on_table(write_table()), "budget": {"steps": 3}}).errors
    assert "budget: has no effect" in str(budget)
    with pytest.raises(DataError, match=r"nowhere.csv: cannot be read"):
        prepare(on_table("nowhere.csv"))
    Path("wrong.json").write_text('{"0": {"test_acc": [1]}}')
    with pytest.raises((DataError, SpecError, Refused), match=r"wrong.json"):
        prepare(on_table("wrong.json"))
    path.write_text(path.read_text().replace("2-0,8", "2-0,?"))
    with pytest.raises(DataError, match=r"table.csv:8: has the quality_0"):
        prepare(on_table(path))
