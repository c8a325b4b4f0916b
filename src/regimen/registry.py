"""Finds plug-ins by name: strategies, tasks, tuning methods. A plug-in is one file and no edit elsewhere.

Looked for, in this order: the package's own folders, `./strategies/` (and `./tasks/` ...) of the user's folder, entry
points of installed packages (group `regimen.plugins`, the value a module), classes registered by hand, and a path
(`./orpo.py`). Finding reads source files without running them; `Plugin.load` runs one file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel

from regimen.errors import Problem, SpecError, StrategyFailed, did_you_mean
from regimen.settings import PluginSettings, init_parameters, settings_model


class Kind(NamedTuple):
    """A kind of plug-in: where its files are, what its classes derive from."""

    name: str
    """The word for it in messages and in settings."""
    package: str
    """The package's own folder of them, as a module."""
    base: str
    """`module:Class` that a plug-in gets its missing methods from."""
    marks: tuple[str, ...]
    """Methods that tell a class of this kind when it has no base class."""
    family: str = ""


KINDS = {
    "finetune": Kind(
        "strategy",
        "regimen.strategies.finetune",
        "regimen.finetune.strategy:TrainingStrategy",
        ("prepare_dataset", "create_trainer", "prepare_model", "get_required_dataset_fields"),
        "finetune",
    ),
    "task": Kind("task", "regimen.tasks", "regimen.task:Task", ("load_model",)),
    "tuning": Kind("tuning", "regimen.tunings", "regimen.finetune.tuning:Tuning", ("apply",)),
}
STRATEGIES = tuple(key for key, kind in KINDS.items() if kind.name == "strategy")


@dataclass(frozen=True)
class Plugin:
    """A class that was found, not loaded."""

    kind: str
    """A key of `KINDS`."""
    name: str
    class_name: str
    path: Path
    origin: str
    """`built in`, `folder`, `file`, `registered`, or the distribution that brings it."""
    summary: str = ""
    """First line of its docstring."""

    @property
    def qualified(self) -> str:
        """`finetune/sft` for a strategy, the name alone for other kinds."""
        family = KINDS[self.kind].family
        return f"{family}/{self.name}" if family else self.name

    @property
    def source_hash(self) -> str:
        """sha256 of the file: a resume refuses other code."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def load(self) -> type:
        """The class, with the methods of its kind. Raises `StrategyFailed` with the place if its file does not run."""
        if self.origin == "registered":
            return _adopted(_REGISTERED[self.kind, self.name], self.kind)
        module = _module(self.path, self.origin)
        return _adopted(getattr(module, self.class_name), self.kind)

    def settings(self) -> type[PluginSettings]:
        """The checked settings model, made from the class's annotations."""
        model = settings_model(self.load(), _base(self.kind), name=self.name, path=self.path)
        model.plugin = self
        return model

    def make(self, settings: BaseModel) -> Any:
        """A fresh object with the values of checked settings on it."""
        cls = self.load()
        values = {name: getattr(settings, name) for name in type(settings).model_fields if name != "name"}
        wanted = [parameter.name for parameter in init_parameters(cls)]
        made = cls(**{name: values[name] for name in wanted if name in values})
        for name, value in values.items():
            setattr(made, name, value)
        if not getattr(made, "name", ""):
            made.name = self.name
        made.settings = settings
        return made


_REGISTERED: dict[tuple[str, str], type] = {}
"""Classes registered by hand (ModelForge's `STRATEGY_REGISTRY[name] = cls`): the one place of process-wide state."""


def register(kind: str, name: str, cls: type) -> None:
    """Makes a class known in this process under a name. Files need no registration."""
    _REGISTERED[kind, name] = cls


def unregister(kind: str, name: str) -> None:
    """Takes back what `register` did. Raises `KeyError` for a class that was not registered by hand."""
    del _REGISTERED[kind, name]


def plugins(kind: str, folder: Path | None = None) -> list[Plugin]:
    """All plug-ins of a kind, by name. `folder` is the user's; None is the current one.

    Raises `SpecError` if two files claim one name: neither is preferred in silence.
    """
    found: dict[str, Plugin] = {}
    for plugin in _everywhere(kind, folder or Path()):
        earlier = found.setdefault(plugin.name, plugin)
        if earlier.path.resolve() != plugin.path.resolve():
            text = f"the name {plugin.qualified!r} is taken: {earlier.path} ({earlier.origin}) has it, too."
            raise SpecError(Problem(str(plugin.path), text, "Rename one of them."))
    return sorted(found.values(), key=lambda plugin: plugin.name)


def find(name: str, kinds: Iterable[str], folder: Path | None = None) -> Plugin:
    """One plug-in by name, qualified name, class name, or path (`./orpo.py`, `./mine.py:ORPO`).

    Case does not count. Raises `SpecError` that names the nearest known one.
    """
    kinds = tuple(kinds)
    if name.partition(":")[0].endswith(".py"):
        return _from_path(name, kinds)
    known = [plugin for kind in kinds for plugin in plugins(kind, folder)]
    wanted = name.lower()
    for matches in (
        lambda p: wanted in (p.qualified.lower(), p.name.lower()),
        lambda p: wanted == p.class_name.lower(),
    ):
        hits = [plugin for plugin in known if matches(plugin)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise SpecError(Problem("", f"{name!r} is ambiguous: {', '.join(p.qualified for p in hits)}."))
    words = {KINDS[kind].name for kind in kinds}
    word = words.pop() if len(words) == 1 else "plug-in"
    raise SpecError(Problem("", f"there is no {word} {name!r}.", did_you_mean(name, [p.name for p in known])))


def describe(path: Path, kinds: Sequence[str] = tuple(KINDS), origin: str = "file") -> list[Plugin]:
    """The plug-ins in a source file, read without running it. Raises `StrategyFailed` for a file that does not
    parse.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8-sig"), str(path))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise StrategyFailed(Problem(f"{path}:{line}" if line else str(path), f"does not parse: {error}.")) from error
    except OSError as error:
        raise SpecError(
            Problem(str(path), f"cannot be read: {error.strerror}.", "Give the path of a Python file.")
        ) from error
    found: list[Plugin] = []
    local: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        kind = _kind_of(node, local)
        if kind is None and len(kinds) == 1 and node.bases and _says_name(node):
            kind = kinds[0]  # its base is defined elsewhere; the folder says what it is
        if kind is None:
            continue
        local[node.name] = kind
        if kind in kinds and not _is_base(node):
            summary = (ast.get_docstring(node) or "").partition("\n")[0]
            found.append(Plugin(kind, _declared_name(node), node.name, path, origin, summary))
    return found


# ------------------------------------------------------------------------------------------------ where they are


def _everywhere(kind: str, folder: Path) -> Iterator[Plugin]:
    yield from _built_in(kind)
    for path in sorted((folder / ("strategies" if KINDS[kind].family else f"{kind}s")).glob("**/*.py")):
        if not path.name.startswith(("_", "test_")):
            yield from describe(path, [kind], "folder")
    for entry in entry_points(group="regimen.plugins"):
        spec = importlib.util.find_spec(entry.value.partition(":")[0])
        if spec and spec.origin:
            yield from describe(Path(spec.origin), [kind], entry.dist.name if entry.dist else "package")
    for (registered, name), cls in _REGISTERED.items():
        if registered == kind:
            module = sys.modules.get(cls.__module__)
            path = Path(getattr(module, "__file__", None) or "<interactive>")
            yield Plugin(kind, name, cls.__name__, path, "registered", (cls.__doc__ or "").strip().partition("\n")[0])


@functools.cache
def _built_in(kind: str) -> tuple[Plugin, ...]:
    folder = _folder_of(KINDS[kind].package)
    files = sorted(folder.glob("*.py")) if folder else []
    return tuple(p for path in files if not path.name.startswith("_") for p in describe(path, [kind], "built in"))


def _from_path(name: str, kinds: tuple[str, ...]) -> Plugin:
    file, _, class_name = name.partition(":")
    found = [plugin for plugin in describe(Path(file), kinds) if class_name in ("", plugin.class_name)]
    if len(found) == 1:
        return found[0]
    what = (
        f"holds {len(found)} of them ({', '.join(p.class_name for p in found)})"
        if found
        else f"holds no {KINDS[kinds[0]].name}"
    )
    fix = f"Name one: {file}:{found[0].class_name}." if found else "`regimen new strategy` writes one to start from."
    raise SpecError(Problem(file, f"{what}.", fix))


# ---------------------------------------------------------------------------------------------- reading a class


def _kind_of(node: ast.ClassDef, local: dict[str, str]) -> str | None:
    methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
    for base in node.bases:
        word = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
        if word in local:
            return local[word]
        for key in KINDS:
            if word == KINDS[key].base.partition(":")[2] or word in _built_in_classes(key):
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
    folder = _folder_of(KINDS[kind].package)
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
        value = getattr(item, "value", None)
        if any(getattr(target, "id", "") == "name" for target in targets) and isinstance(value, ast.Constant):
            return str(value.value)
    return ""


def _declared_name(node: ast.ClassDef) -> str:
    if _says_name(node):
        return _says_name(node)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "get_strategy_name":
            last = item.body[-1]
            if isinstance(last, ast.Return) and isinstance(last.value, ast.Constant):
                return str(last.value.value)
    return node.name


# -------------------------------------------------------------------------------------------------- loading one


def _module(path: Path, origin: str) -> ModuleType:
    if origin == "built in":
        package = next(kind.package for kind in KINDS.values() if _folder_of(kind.package) == path.parent)
        return importlib.import_module(f"{package}.{path.stem}")
    source = path.read_bytes()
    name = f"regimen_plugin_{path.stem}_{hashlib.sha256(source + str(path.resolve()).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        place = f"{path}:{lines[-1]}" if lines else str(path)
        raise StrategyFailed(Problem(place, f"cannot be loaded: {type(error).__name__}: {error}.")) from error
    return module


@functools.cache
def _folder_of(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _base(kind: str) -> type:
    module, _, name = KINDS[kind].base.partition(":")
    base: type = getattr(importlib.import_module(module), name)
    return base


def _adopted(cls: type, kind: str) -> type:
    """A class with the right methods and no base class gets what it lacks from the base of its kind."""
    base = _base(kind)
    if issubclass(cls, base):
        return cls
    adopted = type(cls.__name__, (cls, base), {"__module__": cls.__module__, "__doc__": cls.__doc__})
    return adopted
