"""What plug-ins say of themselves when their files are run: settings as schemas, papers, which tasks they can train."""

from __future__ import annotations

import inspect
import re
from typing import Any

from regimen.choices import CheckedSpec, self_contained
from regimen.errors import RegimenError, StrategyFailed
from regimen.kinds import KINDS
from regimen.registry import Plugin, find, plugins
from regimen.spec import RunSettings
from regimen.strategy import Strategy
from regimen.task import Task

_PAPER = re.compile(r"arXiv:\d{4}\.\d{4,5}")


def describe(kind: str, name: str) -> dict[str, Any]:
    """Docstring, papers, schema without `$ref`, defaults (null: required), and what its rows must be."""
    plugin = find(name, (kind,))
    cls, model = plugin.load(), plugin.settings()
    schema = self_contained(model.model_json_schema())
    module = inspect.getmodule(cls)
    text = f"{inspect.getdoc(cls) or ''}\n{inspect.getdoc(module) or ''}"
    return {
        "doc": inspect.getdoc(cls) or "",
        "papers": list(dict.fromkeys(_PAPER.findall(text))),
        "schema": schema,
        "defaults": {key: inner.get("default") for key, inner in schema["properties"].items() if key != "name"},
        "required": [key for key in schema.get("required", ()) if key != "name"],
        "layouts": list(getattr(cls, "layouts", ())),
        "resume": getattr(cls, "resume", None),
    }


def pairings(kind: str, name: str) -> dict[str, Any]:
    """Each task with the reason why a strategy cannot train it. No data is read, so some reasons come only later."""
    strategy = _made(find(name, (kind,)))
    tasks = []
    for plugin in plugins("task", None, []):
        try:
            reason = _why_not(strategy, plugin)
        except StrategyFailed as error:
            reason = str(error)
        tasks.append({"task": plugin.name, "why_not": reason})
    return {"tasks": tasks}


def run_schema() -> dict[str, Any]:
    """Of a RUN.yaml with every task and every strategy, as `regimen schema` prints it."""
    return CheckedSpec.model_json_schema()


def form_schemas(strategy: str, kind: str, task: str) -> dict[str, Any]:
    """Of one strategy, one task, and what a run is told besides."""
    return {
        "task": self_contained(find(task, ("task",)).settings().model_json_schema()),
        "strategy": self_contained(find(strategy, (kind,)).settings().model_json_schema()),
        "run": self_contained(RunSettings.model_json_schema()),
    }


def _made(plugin: Plugin) -> Strategy:
    """With its defaults; bare where it has settings without one."""
    made: Strategy
    try:
        made = plugin.make(plugin.settings()(name=plugin.name))
    except ValueError:
        made = object.__new__(plugin.load())
    assert KINDS[plugin.kind].family
    return made


def _why_not(strategy: Strategy, plugin: Plugin) -> str | None:
    task: Task = object.__new__(plugin.load())
    try:
        return strategy.why_not(task)
    except RegimenError as error:  # a package that is not installed, say
        return str(error)
    except Exception:  # noqa: BLE001 - it looked at what a task has once its data is read: nothing stands against it yet
        return None
