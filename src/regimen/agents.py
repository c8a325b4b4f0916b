"""OSNASLib's `agent:` section: its names for the parts of a run, put where they stand in our settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regimen.document import Document
from regimen.errors import Problem, SpecError, did_you_mean

SECTION = "agent"
PATHS: Mapping[str, tuple[str, ...]] = {
    "training_strategy_agent": ("strategy", "name"),
    "search_strategy_agent": ("strategy", "search", "name"),
    "search_space_agent": ("task", "supernet", "space", "name"),
    "criterion_agent": ("strategy", "criterion", "name"),
}
SETTLED: Mapping[str, tuple[str, ...]] = {
    "main_agent": ("CFSearchAgent", "CFEvaluateAgent", "FRSearchAgent", "FREvaluateAgent"),
    "hc_criterion_agent": ("MSELoss",),
}
"""Names whose part is not chosen here: a run searches and then trains what it found, and the distance of a cost to its
target is squared. With the values that OSNASLib has for them.
"""


def with_agents(document: Document) -> Document:
    """The description with the names of its `agent:` section in their places; as it is where there is no such section.

    Raises `SpecError` for an unknown name, a value that is no name, or a part that is named twice.
    """
    if SECTION not in document.data:
        return document
    agents = document.data[SECTION]
    if not isinstance(agents, dict):
        fix = f"Give names below it: {', '.join(PATHS)}."
        raise SpecError(Problem(document.place((SECTION,)), "holds no names.", fix))
    data = {key: value for key, value in document.data.items() if key != SECTION}
    lines, problems = dict(document.lines), list[Problem]()
    for key, value in agents.items():
        place = document.place((SECTION, key))
        problem = _wrong(key, value) or (_put(data, PATHS[key], value) if key in PATHS else "")
        if problem:
            problems.append(Problem(place, problem))
        elif key in PATHS:
            lines[PATHS[key]] = document.line((SECTION, key))
    if problems:
        raise SpecError(problems)
    return Document(data, document.source, lines, document.overrides)


def _wrong(key: str, value: object) -> str:
    if key not in PATHS and key not in SETTLED:
        return f"is not known. {did_you_mean(key, [*PATHS, *SETTLED])}"
    if not isinstance(value, str):
        return f"is {value!r}; expected the name of a class."
    if key in SETTLED and value not in SETTLED[key]:
        return f"is {value!r}; known: {', '.join(SETTLED[key])}. It may be left out."
    return ""


def _put(data: dict[str, Any], path: tuple[str, ...], name: str) -> str:
    """Puts a name at a path; what is wrong with that, in words."""
    *above, last = path
    group = data
    for key in above:
        inner = group.get(key)
        group[key] = {"name": inner} if isinstance(inner, str) and last != key else dict(inner or {})
        group = group[key]
    if group.get(last, name) != name:
        return f"is {name!r}, and {'.'.join(path)} is {group[last]!r}: name it once."
    group[last] = name
    return ""
