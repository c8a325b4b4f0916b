"""Settings as a document: YAML in, the place of each key kept, every wrong one named at once.

document = read_document("run.yaml").with_overrides(["strategy.optimizer.lr=1e-3"])
spec = check(document, RunSpec)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from regimen.complaints import PathOfKeys, complaints, kind, shown
from regimen.errors import Problem, SpecError

_MOST_SHOWN = 20
"""Wrong keys that one message lists; the others are counted."""
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """Settings as written, with the place of each key."""

    data: dict[str, Any]
    source: str = ""
    """the file's name, for error messages; empty for settings given from Python"""
    lines: Mapping[PathOfKeys, int] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    def place(self, keys: PathOfKeys) -> str:
        """`run.yaml:3 strategy.optimizer.lr`, `--set strategy.optimizer.lr`, or the settings path alone."""
        dotted = ".".join(str(key) for key in keys)
        if any(text.partition("=")[0].strip() == dotted for text in self.overrides):
            return f"--set {dotted}"
        if keys in self.lines:
            return f"{self.source}:{self.lines[keys]} {dotted}"
        for text in self.overrides:  # one that made the group, or something in it
            path = text.partition("=")[0].strip()
            if f"{path}.".startswith(f"{dotted}.") or f"{dotted}.".startswith(f"{path}."):
                return f"--set {path}"
        line = self.line(keys)
        return f"{self.source}:{line} {dotted}" if line else f"{self.source} {dotted}".strip()

    def line(self, keys: PathOfKeys) -> int:
        """The line of a key, or of the nearest group around it; 0 where there is none."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.lines:
                return self.lines[keys[:length]]
        return 0

    def with_overrides(self, overrides: Iterable[str]) -> Document:
        """The document with `a.b=c` applied, each value read as YAML. Raises `SpecError` for a malformed one."""
        data, problems, overrides = _copy(self.data), [], tuple(overrides)
        for text in overrides:
            dotted, equals, value = text.partition("=")
            keys = [key.strip() for key in dotted.split(".")]
            if not equals or not all(keys):
                problems.append(
                    Problem(f"--set {text}", "is not of the form path=value.", "Example: --set budget.steps=100")
                )
                continue
            problem = _put(data, keys, _yaml_value(text, value, problems), text)
            if problem:
                problems.append(problem)
        if problems:
            raise SpecError(problems)
        return Document(data, self.source, self.lines, self.overrides + overrides)


def read_document(source: str | Path | Mapping[str, Any]) -> Document:
    """Settings from a YAML (or JSON) file, or from a mapping. Raises `SpecError` with file and line."""
    if isinstance(source, Mapping):
        return Document(_copy(dict(source)))
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (
            error.strerror
            if isinstance(error, OSError)
            else f"is not UTF-8 text ({error.reason} at byte {error.start})"
        )
        raise SpecError(Problem(str(source), f"cannot be read: {reason}.", "Give the path of a YAML file.")) from error
    return parse_document(text, str(source))


def parse_document(text: str, source: str) -> Document:
    """Settings from YAML text; `source` is its name in messages."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"holds the character U+{ord(text[error.position]):04X}, which no settings file has."
        raise SpecError(Problem(f"{source}:{line}", what, "Give the path of a YAML file.")) from error
    try:
        node = loader.get_single_node()
        if node is None:
            raise SpecError(Problem(source, "is empty.", "A run needs at least `task:` and `strategy:`."))
        problems: list[Problem] = []
        lines = dict(_lines(node, (), source, problems))
        if problems:
            raise SpecError(problems)
        data = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise SpecError(_yaml_problem(error, source)) from error
    except RecursionError:
        fix = "Write what `*name` stands for where it is used."
        raise SpecError(Problem(source, "holds an alias to what it stands in, or is nested too deeply.", fix)) from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise SpecError(
            Problem(f"{source}:1", f"holds {kind(data)}; settings are `key: value` lines.", "Start with `task:`.")
        )
    return Document(data, source, lines)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's rules for numbers and booleans: `1e-2` is a number, `no` and `on` are
    words.
    """


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, rule)
        for tag, rule in rules
        if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:int")
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _lines(node: yaml.Node, keys: PathOfKeys, source: str, problems: list[Problem]) -> Iterator[tuple[PathOfKeys, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key_node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                where = f"{source}:{line} {'.'.join(map(str, keys))}".rstrip()
                shown_key = repr(key) if isinstance(key_node, yaml.ScalarNode) else "a list or a group"
                problems.append(Problem(where, f"has {shown_key} as a key; keys are text.", "Put it in quotes."))
                continue
            if key in seen:
                problems.append(
                    Problem(
                        f"{source}:{line} {'.'.join(map(str, (*keys, key)))}",
                        f"is given twice (first at line {seen[key]}).",
                        "Keep one.",
                    )
                )
            seen[key] = line
            yield (*keys, key), line
            yield from _lines(value_node, (*keys, key), source, problems)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield (*keys, index), child.start_mark.line + 1
            yield from _lines(child, (*keys, index), source, problems)


def _yaml_problem(error: yaml.YAMLError, source: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or str(error)
    place = f"{source}:{mark.line + 1}" if mark else source
    return Problem(place, f"is not valid YAML: {what}.", "Check the indentation, the colons and the quotes there.")


def _yaml_value(text: str, value: str, problems: list[Problem]) -> object:
    try:
        return yaml.load(value, Loader=_Loader)
    except yaml.YAMLError as error:
        problems.append(_yaml_problem(error, f"--set {text}")._replace(place=f"--set {text}"))
        return None


def _put(data: dict[str, Any], keys: list[str], value: object, text: str) -> Problem | None:
    for key in keys[:-1]:
        if isinstance(data.get(key), str):  # a name alone, as in `tuning: lora`
            data[key] = {"name": data[key]}
        child = data.setdefault(key, {})
        if not isinstance(child, dict):
            return Problem(f"--set {text}", f"`{key}` is {shown(child)}, so it has no settings below it.")
        data = child
    data[keys[-1]] = value
    return None


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(child) for key, child in value.items()}
    return [_copy(child) for child in value] if isinstance(value, list | tuple) else value


def check(document: Document, model: type[_Model], elsewhere: Mapping[str, str] | None = None) -> _Model:
    """The document as `model`. Raises `SpecError` with every wrong place at once.

    `elsewhere` says where a key belongs that is often written at another place, as in
    {"learning_rate": "strategy.optimizer.lr"}.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        found = sorted(
            complaints(error, model, document.place, elsewhere or {}), key=lambda pair: document.line(pair[0])
        )
    problems = list(dict.fromkeys(problem for _, problem in found))
    more = len(problems) - _MOST_SHOWN
    raise SpecError([*problems[:_MOST_SHOWN], Problem("", f"and {more} more.")] if more > 0 else problems)
