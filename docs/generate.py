"""Writes the parts of the documentation that follow from the code: `python docs/generate.py`, checked by a test.

A page holds `<!-- generated: NAME -->` and `<!-- end of NAME -->`; what stands between them is made here.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from regimen.benchmark import Problem, Runner
from regimen.choices import PluginOf
from regimen.finetune import LanguageTask, TrainingStrategy
from regimen.kinds import KINDS, STRATEGIES
from regimen.nas.sampler import Sampler
from regimen.nas.searcher import Searcher
from regimen.nas.supernettask import SupernetTask
from regimen.optim import OptimizerSettings, Schedule
from regimen.published import NAMES
from regimen.registry import Plugin, plugins
from regimen.settings import settings_model
from regimen.spec import RunSettings
from regimen.task import Task

DOCS = Path(__file__).resolve().parent
SOURCES = DOCS.parent / "src" / "regimen"
_NOWHERE = DOCS / "nowhere"
"""A folder without plug-ins: only the built-in ones are documented."""
_SECTIONS = {
    "tuning": "#tuning-methods",
    "task": "#tasks",
    "space": "#search-spaces",
    "searcher": "#searchers",
    "criterion": "#criteria",
    "nas": "#strategies",
}
_TASKS = {"language task": LanguageTask, "test problem": Problem, "task with a supernet": SupernetTask}
_STRATEGIES = {"fine-tuning strategy": TrainingStrategy, "runner": Runner, "sampler": Sampler}
_HEAD = "| setting | type | default | what it is |\n|---|---|---|---|\n"
_GROUPS: dict[str, tuple[str, type[BaseModel]]] = {
    "OptimizerSettings": ("optimizer", OptimizerSettings),
    "Schedule": ("schedule", Schedule),
}


# ------------------------------------------------------------------------------------------------------- settings


def settings() -> str:
    """Every setting of a run: its type, its default, and its description from the one home."""
    parts = [
        "## The run\n\nThese stand at the top level of `RUN.yaml`, beside `task` and `strategy`.\n\n"
        + _table(RunSettings),
        "## Tasks\n\n`task: {name: text, ...}`\n",
        *_family(["task"], _TASKS, Task),
        "## Strategies\n\n`strategy: {name: sft, ...}`\n",
        *_family(STRATEGIES, _STRATEGIES, None),
        *(f"### {name}\n\n`strategy.{name}`\n\n" + _table(model) for name, model in _GROUPS.values()),
        "## Tuning methods\n\n`strategy.tuning: {name: lora, r: 16}`, or the name alone.\n",
        *(_plugin(plugin) for plugin in plugins("tuning", _NOWHERE)),
        "## Search spaces\n\n`task.supernet: {space: {name: chain, ...}}`, or the name alone.\n",
        *(_plugin(plugin) for plugin in plugins("space", _NOWHERE)),
        "## Searchers\n\n`strategy.search: {name: evolution, ...}`, or the name alone.\n",
        "### What every searcher has\n\n" + _table(_common(Searcher)),
        *(_plugin(plugin, _common(Searcher)) for plugin in plugins("searcher", _NOWHERE)),
        "## Criteria\n\n`strategy.criterion: {name: focal, ...}`, or the name alone.\n",
        *(_plugin(plugin) for plugin in plugins("criterion", _NOWHERE)),
        "## Published flat names\n\nNames that ModelForge and transformers use, and the setting each of them is.\n\n"
        + "| name | setting |\n|---|---|\n"
        + "".join(f"| `{name}` | `{published.path}` |\n" for name, published in NAMES.items()),
    ]
    return "\n".join(parts)


def _common(base: type, above: type | None = None) -> type[BaseModel]:
    """The settings that a base class gives."""
    return settings_model(base, above or base, name="common", path=_NOWHERE)


def _family(kinds: Iterable[str], bases: Mapping[str, type], above: type | None) -> Iterator[str]:
    """What all of a family have, and then each of it, family by family; those of none of them first."""
    found = [plugin for kind in kinds for plugin in plugins(kind, _NOWHERE)]
    rest = [plugin for plugin in found if not issubclass(plugin.load(), tuple(bases.values()))]
    yield from (_plugin(plugin) for plugin in rest)
    for word, base in bases.items():
        common = _common(base, above)
        yield f"### What every {word} has\n\n" + _table(common)
        yield from (_plugin(plugin, common) for plugin in found if issubclass(plugin.load(), base))


def _plugin(plugin: Plugin, common: type[BaseModel] | None = None) -> str:
    """A plug-in's own settings; those of `common`, or of the plug-in it derives from, only where it changes them."""
    cls, model = plugin.load(), plugin.settings()
    above = [other for other in plugins(plugin.kind, _NOWHERE) if other.load() in cls.__mro__[1:]]
    inherited = above[0].settings() if above else common
    own = [name for name, info in model.model_fields.items() if inherited is None or _differs(name, info, inherited)]
    own = [name for name in own if name != "name"]
    begins = f"It has the settings of [{above[0].name}](#{above[0].name})" if above else ""
    if own:
        said = (f"{begins}, and:\n\n" if above else "") + _table(model, own)
    else:
        said = f"{begins}.\n" if above else "It has no settings of its own.\n"
    return f"### {plugin.name}\n\n{' '.join((cls.__doc__ or '').split())}\n\n{said}"


def _differs(name: str, info: FieldInfo, common: type[BaseModel]) -> bool:
    usual = common.model_fields.get(name)
    return usual is None or usual.default != info.default or usual.description != info.description


def _table(model: type[BaseModel], names: Sequence[str] | None = None) -> str:
    return _HEAD + "".join(_rows(model, names))


def _rows(
    model: type[BaseModel], names: Sequence[str] | None = None, above: str = "", value: Any = None
) -> Iterator[str]:
    for name, info in model.model_fields.items():
        if (names is not None and name not in names) or (name == "name" and _is_fixed(info)):
            continue
        path, group = f"{above}{name}", _group(info.annotation)
        default = getattr(value, name) if value is not None else info.default
        if group is not None and group.__name__ not in _GROUPS:
            yield _row(path, "group", _default_of_group(default), info.description)
            yield from _rows(group, above=f"{path}.", value=default if isinstance(default, BaseModel) else None)
        else:
            yield _row(path, in_words(info.annotation, info.metadata), _default(default), info.description)


def _row(*cells: str | None) -> str:
    name, kind, default, said = (" ".join((cell or "").split()).replace("|", "\\|") for cell in cells)
    return f"| `{name}` | {kind} | {default} | {said} |\n"


def _is_fixed(info: FieldInfo) -> bool:
    return get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1


def _group(annotation: Any) -> type[BaseModel] | None:
    """The model that a setting holds, where it is a group of settings and not a plug-in."""
    for part in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,):
        if isinstance(part, type) and issubclass(part, BaseModel) and part.__name__ != "Choice":
            return part
    return None


def in_words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A type for a reader: `int, >= 1, or null`; a choice as its words; a plug-in as a link to its section."""
    metadata = [part for data in metadata for part in (data.metadata if isinstance(data, FieldInfo) else [data])]
    kinds = [kind for part in metadata if isinstance(part, PluginOf) for kind in part.kinds]
    if kinds:
        return f"[{KINDS[kinds[0]].name}]({_SECTIONS[kinds[0]]})"
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return in_words(inside[0], [*inside[1:], *metadata])
    if origin in (Union, UnionType):
        said = [in_words(part, metadata) for part in inside if part is not NoneType]
        return " or ".join(said) + (", or null" if NoneType in inside else "")
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in inside)
    if origin in (list, tuple):
        return f"list of {in_words(inside[0])}"
    if origin is dict:
        return "map of text to text"
    if isinstance(annotation, type) and annotation.__name__ in _GROUPS:
        name = _GROUPS[annotation.__name__][0]
        return f"[{name}](#{name})"
    word = {str: "text", bool: "true or false", Path: "path"}.get(
        annotation, getattr(annotation, "__name__", "anything")
    )
    return ", ".join([word, *_bounds(metadata)])


def _bounds(metadata: Iterable[Any]) -> Iterator[str]:
    for part in metadata:
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if hasattr(part, attribute):
                yield f"{sign} {getattr(part, attribute)}"


def _default(value: Any) -> str:
    if value is PydanticUndefined or value is ...:
        return "required"
    if isinstance(value, BaseModel):
        given = value.model_dump(mode="json", exclude_unset=True)
        return f"`{json.dumps(given)}`" if given else "as below"
    if isinstance(value, str | Path):
        return f"`{value}`" if str(value) else "empty"
    return f"`{json.dumps(value)}`"


def _default_of_group(value: Any) -> str:
    return "`null`" if value is None else "required" if value is PydanticUndefined or value is ... else "as below"


# ------------------------------------------------------------------------------------------------------- file map


def file_map() -> str:
    """Each source file with the first sentence of its docstring, by folder."""
    folders: dict[Path, list[str]] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        said = _first_sentence(path)
        if said:
            folders.setdefault(path.parent, []).append(f"| `{path.name}` | {said} |\n")
    return "\n".join(
        f"### `{folder.relative_to(SOURCES.parent).as_posix()}/`\n\n| file | idea |\n|---|---|\n{''.join(rows)}"
        for folder, rows in sorted(folders.items())
    )


def _first_sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    sentence = re.match(r".*?[.;](?= [A-Z]|$)", paragraph)
    return (sentence.group() if sentence else paragraph).replace("|", "\\|")


# ---------------------------------------------------------------------------------------------------------- pages

PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "settings": ("settings.md", settings),
    "file map": ("architecture.md", file_map),
}
"""Each generated part: its page, and what makes it."""


def renewed(name: str) -> tuple[Path, str]:
    """The page of a part, and its text with that part made anew."""
    page, make = PARTS[name]
    path = DOCS / page
    start, end = f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = path.read_text(encoding="utf-8").partition(start)
    if not found or end not in rest:
        raise ValueError(f"{path} lacks {start.strip()} or {end}")
    return path, f"{before}{start}\n{make()}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    for part in PARTS:
        target, text = renewed(part)
        target.write_text(text, encoding="utf-8")
