"""Commands that serve: up."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from regimen.errors import MissingExtra, Problem

_SERVE = frozenset({"fastapi", "starlette", "uvicorn", "jinja2", "python_multipart", "websockets", "plotly"})
"""What the extra `serve` installs."""


def up(
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on. Beyond this machine, all need the token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes any free one.")] = 8000,
    folder: Annotated[Path, typer.Option("--folder", help="Where runs and data sets are.")] = Path(),
    root: Annotated[
        list[Path], typer.Option("--root", help="A further folder whose data may be named. Repeatable.")
    ] = [],  # noqa: B006 - typer reads it
    name: Annotated[
        list[str], typer.Option("--name", help="A further HOST[:PORT] by which it is asked for. Repeatable.")
    ] = [],  # noqa: B006
    token: Annotated[bool, typer.Option("--token", help="Programs on this machine need the token, too.")] = False,
    slots: Annotated[int, typer.Option("--slots", min=1, max=64, help="Runs at once on one device.")] = 1,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Serve the page, the API and the queue of a folder.

    Prints the address to open, with a token in it. Ctrl-C stops the server; runs go on without it.
    """
    try:
        from regimen.web.gate import is_loopback
        from regimen.web.home import Home
        from regimen.web.serve import Address
        from regimen.web.serve import up as serve
    except ModuleNotFoundError as error:
        raise _missing(error) from None

    def started(home: Home, link: str) -> None:
        print(f"Regimen serves {home.folder} at\n\n    {link}\n\nCtrl-C stops the server; runs go on.", flush=True)
        if not is_loopback(host):
            text = "note: others on the network can reach it, and nothing that is sent is encrypted."
            print(f"regimen: {text} Put a proxy with TLS before it, or forward its port.", file=sys.stderr)
        elif open_ and sys.stdout.isatty() and not token:  # else the token would stand in the list of processes
            webbrowser.open(link)

    print(serve(folder, tuple(root), Address(host, port, tuple(name), token), slots=slots, started=started))


def _missing(error: ModuleNotFoundError) -> Exception:
    if (error.name or "").partition(".")[0] not in _SERVE:
        return error
    fix = "Run: pip install 'regimen-ml[serve]'."
    return MissingExtra(Problem("", f"the server needs {error.name}, which is not installed.", fix))


COMMANDS = (up,)
