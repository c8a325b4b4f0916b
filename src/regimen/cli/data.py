"""Commands about data: data preview."""

from __future__ import annotations

from typing import Annotated

import typer

from regimen.cli.running import AsJson, Settings, _print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def top() -> None:
    """Look at data as training sees it."""


@app.command()
def preview(
    file: Annotated[str, typer.Argument(metavar="RUN.yaml", help="The description of a run.")],
    set_: Settings = [],  # noqa: B006
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows.")] = 3,
    split: Annotated[str, typer.Option(help="train, valid or test.")] = "train",
    ids: Annotated[bool, typer.Option("--ids", help="Show token ids.")] = False,
    json: AsJson = False,
) -> None:
    """Show the exact tokens of some rows, and which of them are trained: what the run would see."""
    import sys

    from regimen.execute import prepare
    from regimen.finetune.previewing import previewed
    from regimen.finetune.tokens.preview import preview_as_text, render_preview

    prepared = prepare(file, set_)
    shown = previewed(prepared.strategy, prepared.task, split, rows)
    if json:
        _print_json([row.to_json() for row in shown])
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(render_preview(shown, ids=ids))
    else:
        print(preview_as_text(shown, ids=ids))
    for problem in prepared.errors:
        print(f"regimen: {problem}", file=sys.stderr)
    if prepared.errors:
        raise typer.Exit(3)
