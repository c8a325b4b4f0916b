"""A description read and checked: its objects made, its data looked at, nothing spent."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from regimen.agents import with_agents
from regimen.choices import CheckedSpec
from regimen.document import Document, check, read_document
from regimen.endings import plugins_named
from regimen.environment import package_version
from regimen.errors import Problem, SpecError
from regimen.published import usual_places
from regimen.spec import identifying
from regimen.strategy import Finding, Strategy
from regimen.task import Task


@dataclass
class Prepared:
    """A description that has been read: its objects made, its data looked at, no weights loaded."""

    document: Document
    spec: CheckedSpec
    task: Task
    strategy: Strategy
    findings: list[Finding]

    @property
    def errors(self) -> list[Problem]:
        return [finding.problem for finding in self.findings if finding.level == "error"]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a resume must find again: settings, data (all of it is read for this), code, versions."""
        return {
            "settings": identifying(self.spec.model_dump(mode="json")),
            "data": self.task.fingerprint(),
            "code": self.spec.strategy.plugin.source_hash,
            "versions": {name: package_version(name) for name in ("regimen-ml", "torch")},
        }


def prepare(source: str | Path | Mapping[str, Any] | Document, overrides: Iterable[str] = ()) -> Prepared:
    """Checks settings and data, and asks the strategy whether it can. Spends nothing.

    Raises `SpecError` for settings and `DataError` for files; what the strategy and preflight say is in `findings`.
    """
    document = (source if isinstance(source, Document) else read_document(source)).with_overrides(overrides)
    document = with_agents(document)
    spec = check(document, CheckedSpec, usual_places())
    _check_writable(spec.output)
    with plugins_named(spec.task.plugin, spec.strategy.plugin):
        task: Task = spec.task.plugin.make(spec.task)
        strategy: Strategy = spec.strategy.plugin.make(spec.strategy)
        if task.usual_budget and "budget" not in spec.model_fields_set:
            spec = spec.model_copy(update={"budget": task.usual_budget})
        task.cache = spec.output / ".cache"
        task.prepare()
        reason = strategy.why_not(task)
        if reason:
            refusal = Finding("error", Problem(f"strategy {spec.strategy.name}", reason))
            return Prepared(document, spec, task, strategy, [refusal])
        return Prepared(document, spec, task, strategy, [*_here(spec, task), *strategy.preflight(task, spec)])


def _check_writable(output: Path) -> None:
    """Raises `SpecError` where no run folder can be made, before anything is read. Leaves nothing behind."""
    there = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return  # said with path and need by what writes first
        text = f"is {str(output)!r}, and nothing can be written in {there}: {error.strerror}."
        raise SpecError(Problem("output", text, "Choose another folder.")) from error


def _here(spec: CheckedSpec, task: Task) -> Iterator[Finding]:
    """What this machine and this task cannot give, whatever the strategy."""
    from regimen.processes import why_no_device

    reason = why_no_device(spec.device)
    if reason:
        yield Finding("error", Problem("device", reason, "Choose device: auto or cpu."))
    split = (spec.checkpoint.best or "").partition("/")[0]
    rows = task.describe().get("rows")
    if split and isinstance(rows, Mapping) and split not in rows:
        text = f"is {spec.checkpoint.best!r}, and the task has no {split} rows; it has {', '.join(rows)}."
        yield Finding("error", Problem("checkpoint.best", text, "Give such rows, or remove checkpoint.best."))
