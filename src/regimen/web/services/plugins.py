"""What can be chosen: strategies, tasks and all other plug-ins; their settings as schemas; and files that are broken.

Names and summaries are read from the source files, in this process. What needs a file to run, such as its settings, the
helper knows; it is asked again only when a plug-in file has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from regimen.errors import Problem, did_you_mean
from regimen.kinds import KINDS, STRATEGIES
from regimen.registry import Plugin, plugins
from regimen.web.home import Home
from regimen.web.refusal import Refusal, not_found
from regimen.web.services.parts import Parts


class BrokenFile(NamedTuple):
    """A file of the user's folder that cannot be read as plug-ins, or takes a name that is taken."""

    file: str
    """Relative to the home."""
    problem: Problem


class Listed(NamedTuple):
    plugins: list[Plugin]
    """By kind, then by name."""
    broken: list[BrokenFile]


def listed(parts: Parts, kinds: Sequence[str] = tuple(KINDS)) -> Listed:
    """All plug-ins of some kinds, those of files that were dropped in since among them."""
    found: list[Plugin] = []
    broken: dict[tuple[str, str], BrokenFile] = {}
    for kind in kinds:
        wrong: list[Any] = []
        found += plugins(kind, parts.home.folder, wrong)
        for one in wrong:
            file = shown_file(parts.home, one.path)
            for problem in one.error.problems:
                told = Problem(*(text.replace(f"{parts.home.folder}/", "") for text in problem))
                broken[file, told.message] = BrokenFile(file, told)
    return Listed(found, list(broken.values()))


def kinds_named(word: str) -> tuple[str, ...]:
    """`finetune` alone, `strategy` for the kinds of all families. Raises `Refusal` 404."""
    if word in KINDS:
        return (word,)
    found = tuple(key for key, kind in KINDS.items() if kind.name == word)
    if not found:
        raise not_found("kind of plug-in", word, did_you_mean(word, {*KINDS, *(kind.name for kind in KINDS.values())}))
    return found


def found(parts: Parts, kinds: Sequence[str], name: str) -> Plugin:
    """One plug-in by its name, or its name with its family. Raises `Refusal` 404; never runs or reads a path."""
    known = listed(parts, kinds)
    for plugin in known.plugins:
        if name in (plugin.name, plugin.qualified):
            return plugin
    word = KINDS[kinds[0]].name
    raise not_found(word, name, did_you_mean(name, [plugin.name for plugin in known.plugins]))


def described(parts: Parts, plugin: Plugin) -> dict[str, Any]:
    """Its docstring, papers, settings as JSON schema and their defaults; see `helper.describing.describe`.

    Raises `StrategyFailed` for a file that does not run.
    """
    state = state_of(parts.home)
    answer: dict[str, Any] = parts.helper.recall(state, "describe", kind=plugin.kind, name=plugin.name)
    return answer


def trains(parts: Parts, plugin: Plugin) -> list[dict[str, Any]]:
    """Each task with the reason why this strategy cannot train it, or null; as far as the classes tell."""
    state = state_of(parts.home)
    answer: dict[str, Any] = parts.helper.recall(state, "pairings", kind=plugin.kind, name=plugin.name)
    pairs: list[dict[str, Any]] = answer["tasks"]
    return pairs


def run_schema(parts: Parts) -> dict[str, Any]:
    """The JSON schema of all that a RUN.yaml may hold."""
    answer: dict[str, Any] = parts.helper.recall(state_of(parts.home), "run_schema")
    return answer


def form_schemas(parts: Parts, strategy: str, task: str) -> dict[str, Any]:
    """The schemas of one strategy, one task, and the rest of a RUN.yaml, none of them with `$ref`."""
    trained, how = found(parts, ("task",), task), found(parts, STRATEGIES, strategy)
    state = state_of(parts.home)
    answer: dict[str, Any] = parts.helper.recall(
        state, "form_schemas", strategy=how.name, kind=how.kind, task=trained.name
    )
    return answer


def shown_file(home: Home, path: Path) -> str:
    """A file of the home by its path there; of an installed package, by its name alone."""
    try:
        return str(path.resolve().relative_to(home.folder))
    except ValueError:
        return path.name


def state_of(home: Home) -> str:
    """A hash of all files that plug-ins of the user's may be in: with another one, another answer may be right."""
    digest = hashlib.sha256()
    folders = {"strategies" if kind.family else kind.package.rpartition(".")[2] for kind in KINDS.values()}
    for folder in sorted(folders):
        for path in sorted((home.folder / folder).glob("**/*.py")):
            digest.update(str(path).encode("utf-8", "surrogateescape"))
            try:
                digest.update(path.read_bytes())
            except OSError as error:
                raise Refusal(409, shown_file(home, path), f"cannot be read: {error.strerror}.") from error
    return digest.hexdigest()
