"""Rules that people would otherwise have to remember."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from regimen.kinds import KINDS
from regimen.registry import plugins

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_file_has_one_idea(path: Path) -> None:
    """At most 300 lines, or a reason in its first ones; a sentence on top; no unfinished business."""
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    if text.strip():
        assert docstring, "no module docstring"
    assert text.count("\n") <= 300 or "in one file" in docstring, "over 300 lines without a reason in its first lines"
    assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", text)
    assert "ast.parse(" not in text or path.name == "syntax.py", (
        "source is parsed in `syntax`: threads may do so at once"
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_public_classes_and_functions_are_described(path: Path) -> None:
    tree = ast.parse(path.read_text())
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and (node.end_lineno or 0) - node.lineno > 6
    ]
    assert not bare, f"no docstring: {', '.join(bare)}"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_built_in_plugins_are_one_a_file(kind: str) -> None:
    for plugin in plugins(kind, Path("nowhere")):
        if kind != "task":  # test problems of one source share a file: they are a few lines each
            assert plugin.name == plugin.path.stem, f"{plugin.path} holds {plugin.name}"
        assert plugin.summary, f"{plugin.path} has no docstring"


def test_no_setting_of_a_plugin_lacks_a_description() -> None:
    for kind in KINDS:
        for plugin in plugins(kind, Path("nowhere")):
            for name, info in plugin.settings().model_fields.items():
                assert info.description, f"{plugin.qualified}: {name}"


def test_the_repository_names_no_machine() -> None:
    pattern = re.compile(r"/(work|root|farm)/|pypi\.org/simple|download\.pytorch\.org|registry\.npmjs")
    more = ("*.*", "docs/**/*.md", "tests/**/*.py", "benchmarks/*.py", "examples/*")
    for path in [*SOURCES, *(found for each in more for found in ROOT.glob(each))]:
        if path.name != Path(__file__).name and path.is_file() and path.suffix in (".py", ".md", ".toml", ".txt", ""):
            assert not pattern.search(path.read_text(errors="replace")), path
