"""The command that serves one model: serve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regimen.cli.running import Runs
from regimen.errors import MissingExtra, Problem


def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run (folder or id), or an exported model's folder.")],
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on. Beyond this machine, all need the token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes any free one.")] = 8001,
    name: Annotated[
        list[str], typer.Option("--name", help="A further HOST[:PORT] by which it is asked for. Repeatable.")
    ] = [],  # noqa: B006 - typer reads it
    token: Annotated[bool, typer.Option("--token", help="Programs on this machine need the token, too.")] = False,
    quantized: Annotated[
        bool, typer.Option("--quantized", help="The base in as few bits as the run trained it with.")
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Serve one trained model for OpenAI's client.

    It answers /v1/models, /v1/chat/completions and /v1/completions. Where a token is needed, it is the client's
    api_key.
    """
    try:
        from regimen.web.gate import is_loopback
        from regimen.web.openai import alone
        from regimen.web.serve import Address
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"fastapi", "starlette", "uvicorn", "jinja2"}:
            raise
        text = f"the server needs {error.name}, which is not installed."
        raise MissingExtra(Problem("", text, "Run: pip install 'regimen-ml[serve]'.")) from None

    offered = alone.found(runs, model, quantized=quantized)

    def started(url: str, needed: str | None) -> None:
        print(f"Regimen serves {offered.name} at\n\n    base_url  {url}")
        print(
            f"    api_key   {needed or 'anything: programs on this machine need none'}\n\nCtrl-C stops it.", flush=True
        )
        if not is_loopback(host):
            text = "note: others on the network can reach it, and nothing that is sent is encrypted."
            print(f"regimen: {text} Put a proxy with TLS before it, or forward its port.", file=sys.stderr)

    alone.serve(offered, Address(host, port, tuple(name), token), started)


COMMANDS = (serve,)
