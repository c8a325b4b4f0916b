"""Finds plug-ins by name: strategies, tasks, tuning methods. A plug-in is one file and no edit elsewhere.

Looked for, in this order: the package's own folders, `./strategies/` (and `./tasks/` ...) of the user's folder, entry
points of installed packages (group `regimen.plugins`, the value a module), classes registered by hand, and a path
(`./orpo.py`). Finding reads source files without running them; `Plugin.load` runs one file.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import BaseModel

from regimen.errors import Problem, RegimenError, SpecError, StrategyFailed, did_you_mean
from regimen.kinds import KINDS, folder_of
from regimen.settings import PluginSettings, init_parameters, settings_model
from regimen.sourcefile import described, first_sentence


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
        """sha256 of the file (of the class's name, where it was typed in a session): a resume refuses other code."""
        source = self.path.read_bytes() if self.path.is_file() else self.class_name.encode()
        return hashlib.sha256(source).hexdigest()

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
        if hasattr(cls, "from_settings"):  # a family's own way, where a constructor takes more than settings
            made = cls.from_settings(settings)
        else:
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


class Broken(NamedTuple):
    """A file of plug-ins that cannot be listed, and why."""

    path: Path
    error: RegimenError
    qualified: str = ""
    """The name that it would take from another; empty for a file that does not parse."""


def plugins(kind: str, folder: Path | None = None, broken: list[Broken] | None = None) -> list[Plugin]:
    """All plug-ins of a kind, by name. `folder` is the user's; None is the current one.

    Raises `StrategyFailed` for a file that does not parse, and `SpecError` if two files claim one name: neither is
    preferred in silence. With a list as `broken`, these are put into it, and all others are found.
    """
    found: dict[str, Plugin] = {}
    for plugin in _everywhere(kind, folder or Path(), broken):
        earlier = found.setdefault(plugin.name, plugin)
        if earlier.path.resolve() != plugin.path.resolve():
            text = f"the name {plugin.qualified!r} is taken: {earlier.path} ({earlier.origin}) has it, too."
            error = SpecError(Problem(str(plugin.path), text, "Rename one of them."))
            if broken is None:
                raise error
            broken.append(Broken(plugin.path, error, plugin.qualified))
    return sorted(found.values(), key=lambda plugin: plugin.name)


def find(name: str, kinds: Iterable[str], folder: Path | None = None) -> Plugin:
    """One plug-in by name, qualified name, class name, or path (`./orpo.py`, `./mine.py:ORPO`).

    Case does not count. Raises `SpecError` that names the nearest known one. A broken file is no matter to who asks for
    another one; it is named where the plug-in may be in it.
    """
    kinds = tuple(kinds)
    if name.partition(":")[0].endswith(".py"):
        return _from_path(name, kinds)
    broken: list[Broken] = []
    known = [plugin for kind in kinds for plugin in plugins(kind, folder, broken)]
    wanted = name.lower()
    for matches in (
        lambda p: wanted in (p.qualified.lower(), p.name.lower()),
        lambda p: wanted == p.class_name.lower(),
    ):
        hits = [plugin for plugin in known if matches(plugin)]
        if len(hits) == 1:
            for clash in (one for one in broken if one.qualified == hits[0].qualified):
                raise clash.error
            return hits[0]
        if hits:
            raise SpecError(Problem("", f"{name!r} is ambiguous: {', '.join(p.qualified for p in hits)}."))
    for unread in (one for one in broken if not one.qualified):
        raise unread.error
    words = {KINDS[kind].name for kind in kinds}
    word = words.pop() if len(words) == 1 else "plug-in"
    raise SpecError(Problem("", f"there is no {word} {name!r}.", did_you_mean(name, [p.name for p in known])))


def describe(path: Path, kinds: Sequence[str] = tuple(KINDS), origin: str = "file") -> list[Plugin]:
    """The plug-ins in a source file, which is not run. Raises `StrategyFailed` for a file that does not parse."""
    return [
        Plugin(found.kind, found.name, found.class_name, path, origin, found.summary)
        for found in described(path, kinds)
    ]


# ------------------------------------------------------------------------------------------------ where they are


def _everywhere(kind: str, folder: Path, broken: list[Broken] | None) -> Iterator[Plugin]:
    yield from _built_in(kind)
    below = "strategies" if KINDS[kind].family else KINDS[kind].package.rpartition(".")[2]
    for path in sorted((folder / below).glob("**/*.py")):
        if not path.name.startswith(("_", "test_")):
            try:
                yield from describe(path, [kind], "folder")
            except RegimenError as error:
                if broken is None:
                    raise
                broken.append(Broken(path, error))
    for entry in _entry_points(tuple(sys.path), _changed(sys.path)):
        spec = importlib.util.find_spec(entry.value.partition(":")[0])
        if spec and spec.origin:
            yield from describe(Path(spec.origin), [kind], entry.dist.name if entry.dist else "package")
    for (registered, name), cls in _REGISTERED.items():
        if registered == kind:
            module = sys.modules.get(cls.__module__)
            path = Path(getattr(module, "__file__", None) or "<interactive>")
            yield Plugin(kind, name, cls.__name__, path, "registered", first_sentence(cls.__doc__))


@functools.lru_cache(1)
def _entry_points(path: tuple[str, ...], changed: tuple[int, ...]) -> tuple[EntryPoint, ...]:
    """Looking through all installed packages takes longer than all else here."""
    return tuple(entry_points(group="regimen.plugins"))


def _changed(path: Iterable[str]) -> tuple[int, ...]:
    """When something was last installed or removed in each folder."""
    return tuple(Path(entry).stat().st_mtime_ns if Path(entry).is_dir() else 0 for entry in path)


@functools.cache
def _built_in(kind: str) -> tuple[Plugin, ...]:
    folder = folder_of(kind)
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


# -------------------------------------------------------------------------------------------------- loading one


def _module(path: Path, origin: str) -> ModuleType:
    if origin == "built in":
        package = next(kind.package for key, kind in KINDS.items() if folder_of(key) == path.parent)
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


def _base(kind: str) -> type:
    module, _, name = KINDS[kind].base.partition(":")
    base: type = getattr(importlib.import_module(module), name)
    return base


def _adopted(cls: type, kind: str) -> type:
    """A class with the right methods and no base class gets what it lacks from the base of its kind."""
    base = _base(kind)
    if issubclass(cls, base):
        return cls
    adopted: type = type(cls.__name__, (cls, base), {"__module__": cls.__module__, "__doc__": cls.__doc__})
    return adopted
