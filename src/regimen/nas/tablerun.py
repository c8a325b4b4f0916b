"""A search on a table of architectures whose quality is known: nothing is trained, and regret is known afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from regimen.errors import Problem, Refused
from regimen.handle import Run
from regimen.nas.searching import Search
from regimen.nas.searchproblem import SearchProblem
from regimen.nas.searchstage import SearchStage, json_of
from regimen.nas.stages import Stages
from regimen.nas.tabular import Table, TabularEvaluator, read_nas_bench_macro, read_table
from regimen.spec import Budget
from regimen.task import Task

if TYPE_CHECKING:
    from regimen.nas.sampler import Sampler

_READ = ("name", "search")
"""Settings of a sampler that mean something here."""


class TableTask(Task):
    """The base of tasks whose architectures are all in a file: a subclass has a name."""

    file: Annotated[
        Path, Field(description="NAS-Bench-Macro's JSON, or a CSV or JSON file with architecture, quality and costs")
    ]
    judged_by: Annotated[
        Literal["one_trial", "mean"],
        Field(description="what a query is answered with: one of an architecture's trainings at random, or their mean"),
    ] = "one_trial"

    @cached_property
    def table(self) -> Table:
        """Raises `DataError` with the place of what cannot be read."""
        path = self.file.expanduser()
        return read_nas_bench_macro(path) if _is_macro(path) else read_table(path)

    def prepare(self) -> None:
        assert self.table

    def fingerprint(self) -> str:
        return hashlib.sha256(self.file.expanduser().read_bytes()).hexdigest()

    def describe(self) -> dict[str, Any]:
        table = self.table
        return {
            "architectures": len(table.architectures),
            "trials": table.trials_NT.shape[1],
            "costs": [cost.unit for cost in table.costs],
        }


def misfits_of_table(sampler: Sampler, task: TableTask, budget: Budget) -> Iterator[Problem]:
    """What a table cannot do, and settings that would have no effect on one."""
    searcher, table = sampler.searcher, task.table
    if len(table.architectures) < table.space.num_architectures:
        text = f"lists {len(table.architectures):,} of {table.space.num_architectures:,} architectures."
        yield Problem(f"task.file {task.file.name}", text, "Add those that are missing.")
    if budget != Budget(epochs=1):
        yield Problem("budget", "has no effect: nothing is trained.", "Remove it; the search has a number of queries.")
    given = getattr(sampler, "settings", None)
    for key in sorted(given.model_fields_set if given is not None else ()):
        if key not in _READ:
            text = f"has no effect: nothing is trained, the qualities are those of {task.file.name}."
            yield Problem(f"strategy.{key}", text, "Remove it.")
    if searcher is None:
        yield Problem("strategy.search", "is null, and a table is there to be searched.", "Name a searcher.")
        return
    if searcher.needs_supernet:
        text = f"is {searcher.name}, which learns from a supernet, and a table has none."
        yield Problem("strategy.search.name", text, "Choose another one, such as evolution.")
        return
    try:
        _problem(sampler, task)
    except Refused as error:
        yield from error.problems


def search_table(sampler: Sampler, task: TableTask, run: Run) -> dict[str, float]:
    """The search with its true regret: how much worse the mean of its answer is than that of the best allowed."""
    searcher, table, problem = sampler.searcher, task.table, _problem(sampler, task)
    assert searcher is not None
    # All randomness is in one generator, whose state each checkpoint of the search holds.
    generator = run.generator("searcher")
    evaluator = TabularEvaluator(table, generator if task.judged_by == "one_trial" else None)
    stages = Stages(run)
    search = Search(searcher, problem, evaluator, generator)
    if (found := stages.result("search")) is None:
        stage = SearchStage(search, stages.run_of("search", Budget(steps=searcher.queries)), "quality")
        found = json_of(stage.go())
        stages.finish("search", found, max(1, len(search.history)))
    architecture = table.space.check(found["architecture"])
    final = {f"found/{unit}": cost for unit, cost in found["costs"].items()}
    final["search/quality"] = found["quality"]
    final["found/quality"] = float(table.mean[table.row(architecture)])
    final["found/regret"] = table.regret(architecture, lambda every: problem.allowed(every))
    return final


def _problem(sampler: Sampler, task: TableTask) -> SearchProblem:
    assert sampler.searcher is not None
    return SearchProblem.of(task.table.space, task.table.costs, sampler.searcher.cost)


def _is_macro(path: Path) -> bool:
    """Whether a file begins as an object: our own JSON is a list, and CSV begins with a name."""
    try:
        with path.open("rb") as file:
            return path.suffix == ".json" and file.read(100).lstrip()[:1] == b"{"
    except OSError:
        return False  # who reads it says so
