"""Commands about data: data preview, data fetch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regimen.cli.running import AsJson, Settings, _print_json

if TYPE_CHECKING:
    from regimen.benchmark.sources.download import Told

app = typer.Typer(no_args_is_help=True)


@app.callback()
def top() -> None:
    """Look at data as training sees it, and get data that test problems need."""


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


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="mnist, cifar10, ...: --list shows all.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Where data lie.  [default: data]")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the names, their sizes, and what is there.")] = False,
    json: AsJson = False,
) -> None:
    """Download a data set and check it.

    What is there already is kept, and a broken download is gone on with.
    """
    from regimen.benchmark.sources.catalogue import find_source
    from regimen.benchmark.sources.fetch import fetch as get
    from regimen.benchmark.sources.locate import data_folder

    folder = data_folder(data_dir)
    if list_:
        _list(folder, json)
        return
    if name is None:
        raise typer.BadParameter("NAME is missing; --list shows the names", param_hint="NAME")
    source = find_source(name)
    with _bars() as tell:
        fetched = get(source, folder, tell)
    if json:
        _print_json({"name": name, **fetched._asdict()})
    else:
        print(
            f"{source.title} {'was' if fetched.was_there else 'is now'} in {fetched.folder}. Licence: {source.licence}"
        )


def _list(folder: Path, json: bool) -> None:
    from regimen.benchmark.sources.catalogue import SOURCES
    from regimen.benchmark.sources.locate import find

    there = {name: find(source, folder) for name, source in SOURCES.items()}
    if json:
        _print_json(
            [
                {
                    "name": name,
                    "title": source.title,
                    "download_bytes": source.size,
                    "folder": found.folder if (found := there[name]) else None,
                    "licence": source.licence,
                }
                for name, source in SOURCES.items()
            ]
        )
        return
    for name, source in SOURCES.items():
        size = f"{source.size / 1e6:,.1f} MB" if source.size else "by hand"
        found = there[name]
        print(f"{name:<9} {size:>9}  {source.title}: {found.folder if found else f'not in {folder}'}")


@contextmanager
def _bars() -> Iterator[Told]:
    """A progress bar a file, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    bars: dict[str, Any] = {}
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:

        def tell(file: str, there: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file)
            progress.update(bars[file], completed=there, total=total)

        yield tell
