"""The `regimen` command and its parts. Nothing heavy is imported until a command needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from regimen.cli import analyzing, data, models, plugins, reading, running, serving, servingmodel, tuning

app = typer.Typer(
    name="regimen",
    help="Training strategies: written in one file, checked first, resumed exactly, compared honestly.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from regimen import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show the traceback of an error, too.")] = False,
) -> None:
    pass


for module in (running, reading, plugins, models, tuning, analyzing, serving, servingmodel):
    for command in module.COMMANDS:
        app.command(getattr(command, "command_name", command.__name__.rstrip("_")))(command)
app.add_typer(data.app, name="data", help="Look at data as training sees it, and fetch data sets.")
