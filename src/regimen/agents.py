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
PUBLISHED: Mapping[str, Mapping[str, str]] = {
    "search_strategy_agent": {
        "EvolutionSearcher": "genetic",
        "ArchitectureGeneratorSearcher": "generator",
    },
    "search_space_agent": {
        "FBNetSSupernet": "fbnet_s",
        "FBNetLSupernet": "fbnet_l",
        "ProxylessNASSupernet": "proxylessnas",
        "SPOSSupernet": "spos",
        "SGNASSupernet": "sgnas",
        "MobileFaceNetSupernet": "mobilefacenet",
    },
}
"""OSNASLib's class names where ours differ; the others are found by the class names that they have here, too."""
SETTLED: Mapping[str, tuple[str, ...]] = {
    "main_agent": ("CFSearchAgent", "CFEvaluateAgent", "FRSearchAgent", "FREvaluateAgent"),
    "hc_criterion_agent": ("MSELoss",),
}
"""Names that choose no plug-in, with the values that OSNASLib has for them. A search agent (of classification, CF, or
face recognition, FR, which the task says) ends with the search; an evaluate agent trains what was found from scratch,
after the search of the same run. The distance of a cost to its target is always squared.
"""
RETRAIN = ("strategy", "retrain")


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
        problem = _wrong(key, value) or _settle(data, key, value)
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


def _settle(data: dict[str, Any], key: str, name: str) -> str:
    """Puts what a name of the section says where it stands in our settings; what is wrong with that, in words."""
    if key == "main_agent":
        return _with_main_agent(data, name)
    if key not in PATHS:
        return ""
    ours = {theirs.lower(): own for theirs, own in PUBLISHED.get(key, {}).items()}
    return _put(data, PATHS[key], ours.get(name.lower(), name))


def _with_main_agent(data: dict[str, Any], name: str) -> str:
    group, last = RETRAIN
    strategy = _group(data.get(group))
    if strategy is None:
        return f"cannot be put into {group}, which is {data[group]!r} and holds no names."
    searches = name.endswith("SearchAgent")
    if last in strategy and (strategy[last] is None) != searches:
        what = "ends with the search" if searches else "trains what was found"
        return f"is {name!r}, which {what}, and {'.'.join(RETRAIN)} is {strategy[last]!r}: remove one of them."
    data[group] = {**strategy, last: None} if searches else strategy
    return ""


def _put(data: dict[str, Any], path: tuple[str, ...], name: str) -> str:
    """Puts a name at a path; what is wrong with that, in words."""
    *above, last = path
    group = data
    for key in above:
        inner = _group(group.get(key))
        if inner is None:
            return f"cannot be put into {key}, which is {group[key]!r} and holds no names."
        group[key] = inner
        group = inner
    if group.get(last, name) != name:
        return f"means {name!r}, and {'.'.join(path)} is {group[last]!r}: name it once."
    group[last] = name
    return ""


def _group(value: object) -> dict[str, Any] | None:
    """A copy of a group of settings, of which a text is the name; None for what is no group."""
    if isinstance(value, str):
        return {"name": value}
    return dict(value) if isinstance(value, dict) else {} if value is None else None
