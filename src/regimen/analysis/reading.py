"""Reads a folder of runs: run folders of ours, a study's, or results of DeepOBS in any layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from regimen.analysis.ours import read_records
from regimen.analysis.runs import Runs
from regimen.analysis.studies import Study
from regimen.analysis.theirs import read_tree
from regimen.errors import Problem, RecordError


def read_runs(source: str | Path) -> Runs:
    """All runs below a folder, or in an archive or a table of DeepOBS' results.

    Where a folder holds run folders of ours, those count, and DeepOBS' files beside them are their exports. Raises
    `RecordError` that names the place where there is no run at all.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise RecordError(Problem(str(source), "does not exist.", "Give a folder of runs, `runs` say."))
    if path.is_dir():
        ours = read_records(path)
        if ours.runs:
            return _with_studies(Runs(str(source), tuple(ours.runs), (), tuple(ours.unreadable)), ours.studies)
        if ours.unreadable:
            raise RecordError(
                [Problem(str(bad.folder), bad.why, "No run here can be read.") for bad in ours.unreadable]
            )
    theirs = read_tree(path)
    return Runs(str(source), tuple(theirs.runs), tuple(theirs.notes), tuple(theirs.unreadable))


def _with_studies(runs: Runs, studies: Sequence[Study]) -> Runs:
    """The metric and the rule of the studies that made the runs, if those agree: an analysis then asks the same."""
    questions = {(study.metric, study.at) for study in studies}
    if len(questions) != 1 or any(run.is_tuning is None for run in runs.runs):
        return runs
    ((metric, at),) = questions
    text = (
        f"Metric and rule are those of the study in {studies[0].folder} (by {metric}, {at}), unless others are given."
    )
    name = None if metric is None else metric.partition("/")[2]
    return replace(runs, metric=name, at=at, notes=(*runs.notes, text))
