"""Commands about plug-ins: plugins, new, schema, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from regimen.cli.running import AsJson, _print_json


def plugins(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME | test FILE]", help="One plug-in to describe, or `test FILE`.")
    ] = None,
    json: AsJson = False,
) -> None:
    """List what is registered, or describe one.

    `regimen plugins test FILE` runs the published contract tests on the strategies in a file.
    """
    from regimen.kinds import KINDS
    from regimen.registry import find
    from regimen.registry import plugins as registered

    words = words or []
    if words[:1] == ["test"]:
        if len(words) != 2:
            raise typer.BadParameter("give one file: regimen plugins test FILE")
        from regimen.testing import test_file

        raise typer.Exit(test_file(Path(words[1])))
    if words:
        _describe(find(words[0], tuple(KINDS)), json)
        return
    found = [plugin for kind in KINDS for plugin in registered(kind)]
    if json:
        _print_json(
            [{"kind": KINDS[p.kind].name, "name": p.qualified, "origin": p.origin, "summary": p.summary} for p in found]
        )
        return
    width = max(len(plugin.qualified) for plugin in found)
    for kind in KINDS:
        of_kind = [plugin for plugin in found if plugin.kind == kind]
        if of_kind:
            family = f" ({KINDS[kind].family})" if KINDS[kind].family else ""
            print(f"{KINDS[kind].name}{family}")
        for plugin in of_kind:
            origin = "" if plugin.origin == "built in" else f"  [{plugin.origin}: {plugin.path}]"
            print(f"  {plugin.name:<{width}}  {plugin.summary}{origin}")


def _describe(plugin: Any, json: bool) -> None:
    model = plugin.settings()
    if json:
        _print_json(model.model_json_schema())
        return
    print(f"{plugin.qualified}  ({plugin.origin}: {plugin.path})\n{plugin.summary}\n")
    for name, info in model.model_fields.items():
        if name != "name":
            default = "required" if info.is_required() else f"default {_short(info.default)}"
            print(f"  {name:<24} {default:<28} {info.description or ''}")


def _short(value: Any) -> str:
    dumped = value.model_dump() if hasattr(value, "model_dump") else value
    if not isinstance(dumped, dict):
        return repr(dumped)
    return ", ".join(f"{key}: {each}" for key, each in dumped.items() if each is not None)


def new(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="strategy, runner, sampler, searcher, space, criterion, tuning, or task: what to write.",
        ),
    ],
    name: Annotated[str, typer.Argument(help="Its name, in lower case.")],
    folder: Annotated[Path, typer.Option("--in", help="The folder that holds `strategies/`.")] = Path(),
    all_hooks: Annotated[
        bool, typer.Option("--all-hooks", help="Spell out ModelForge's five hooks, with a transformers trainer.")
    ] = False,
) -> None:
    """Write the file of a new plug-in.

    It is complete and runs; all but tunings and tasks come with a test.
    """
    from regimen.scaffold import write

    for path in write(kind, name, folder, all_hooks=all_hooks):
        print(f"wrote {path}")


def schema(
    name: Annotated[str | None, typer.Argument(help="One plug-in; without, the whole RUN.yaml.")] = None,
) -> None:
    """Print the JSON schema of RUN.yaml or a plug-in."""
    from regimen.choices import CheckedSpec
    from regimen.kinds import KINDS
    from regimen.registry import find

    model = find(name, tuple(KINDS)).settings() if name else CheckedSpec
    _print_json(model.model_json_schema())


def doctor(json: AsJson = False) -> None:
    """Look at this machine and what is installed.

    Versions, hardware, and what each missing part would be for.
    """
    from regimen.doctor import examine, render

    found = examine()
    if json:
        _print_json(found)
    else:
        print(render(found))


COMMANDS = (plugins, new, schema, doctor)
