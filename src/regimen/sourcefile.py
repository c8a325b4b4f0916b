"""Which plug-ins a source file holds, read without running it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from regimen.errors import Problem, SpecError, StrategyFailed
from regimen.kinds import KINDS, folder_of
from regimen.syntax import syntax_tree


class Described(NamedTuple):
    """A class as its source says it is."""

    kind: str
    name: str
    class_name: str
    summary: str


def described(path: Path, kinds: Sequence[str] = tuple(KINDS)) -> list[Described]:
    """The plug-ins in a source file, read without running it. Raises `StrategyFailed` for a file that does not
    parse.
    """
    try:
        tree = syntax_tree(path.read_text(encoding="utf-8-sig"), str(path))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise StrategyFailed(Problem(f"{path}:{line}" if line else str(path), f"does not parse: {error}.")) from error
    except OSError as error:
        raise SpecError(
            Problem(str(path), f"cannot be read: {error.strerror}.", "Give the path of a Python file.")
        ) from error
    found: list[Described] = []
    local: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        kind = _kind_of(node, local)
        if kind is None and len(kinds) == 1 and node.bases and _says_name(node):
            kind = kinds[0]  # its base is defined elsewhere; the folder says what it is
        if kind is None:
            continue
        local[node.name] = kind
        if kind in kinds and not _is_base(node) and not node.name.startswith("_"):
            summary = first_sentence(ast.get_docstring(node))
            found.append(Described(kind, _declared_name(node), node.name, summary))
    return found


def first_sentence(docstring: str | None) -> str:
    """The first sentence of a docstring, on one line."""
    paragraph = " ".join((docstring or "").strip().partition("\n\n")[0].split())
    sentence = re.match(r".*?[.!?](?= [A-Z`]|$)", paragraph)
    return sentence.group() if sentence else paragraph


def _kind_of(node: ast.ClassDef, local: dict[str, str]) -> str | None:
    methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    for base in node.bases:
        word = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if word in local:
            return local[word]
        for key in KINDS:
            if word in (KINDS[key].base.partition(":")[2], *KINDS[key].more_bases) or word in _built_in_classes(key):
                return key
    if node.bases and any(
        getattr(base, "id", "") in ("Exception", "NamedTuple", "Protocol", "BaseModel") for base in node.bases
    ):
        return None
    scores = {key: len(methods.intersection(kind.marks)) for key, kind in KINDS.items()}
    best = max(scores, key=lambda key: scores[key])
    return best if scores[best] and not node.bases else None


@functools.cache
def _built_in_classes(kind: str) -> frozenset[str]:
    folder = folder_of(kind)
    files = folder.glob("*.py") if folder else ()
    return frozenset(
        name for path in files for name in re.findall(r"^class ([A-Z]\w*)", path.read_text(), re.MULTILINE)
    )


def _is_base(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "ABC" for base in node.bases)


def _says_name(node: ast.ClassDef) -> str:
    """The constant that the class attribute `name` is set to, or nothing."""
    for item in node.body:
        targets = (
            item.targets if isinstance(item, ast.Assign) else [item.target] if isinstance(item, ast.AnnAssign) else []
        )
        for target, value in _pairs(targets, getattr(item, "value", None)):
            if getattr(target, "id", "") == "name" and isinstance(value, ast.Constant):
                return str(value.value)
    return ""


def _pairs(targets: Sequence[ast.expr], value: ast.expr | None) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """What is assigned to what; `name, num_epochs = "moons", 5` is two."""
    for target in targets:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            yield from zip(target.elts, value.elts, strict=False)
        else:
            yield target, value


def _declared_name(node: ast.ClassDef) -> str:
    if _says_name(node):
        return _says_name(node)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "get_strategy_name":
            last = item.body[-1]
            if isinstance(last, ast.Return) and isinstance(last.value, ast.Constant):
                return str(last.value.value)
    return node.name
