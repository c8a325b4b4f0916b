"""Commands that run things: run, check, resume, stop, clone, demo."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Settings = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Change a setting, as in --set strategy.optimizer.lr=1e-4. Repeatable."
    ),
]
Runs = Annotated[Path, typer.Option("--runs", help="The folder that holds all runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, its id, or the first letters of the id.")]


def run(
    file: Annotated[str, typer.Argument(metavar="RUN.yaml", help="The description of the run.")],
    set_: Settings = [],  # noqa: B006 - typer reads it
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the result alone.")] = False,
) -> None:
    """Train what a file describes. The record is in a folder below `runs/`."""
    from regimen.execute import run as execute

    with _progress(quiet) as listeners:
        record = execute(file, set_, listeners)
    _told(record)


def check(
    file: Annotated[str, typer.Argument(metavar="RUN.yaml", help="The description of the run.")],
    set_: Settings = [],  # noqa: B006
    json: AsJson = False,
) -> None:
    """Check a run without training it.

    Settings and every row of the data are read; no weights are loaded. Exit code 0, 2 or 3.
    """
    from regimen.execute import prepare

    prepared = prepare(file, set_)
    if json:
        _print_json(
            {
                "findings": [{"level": f.level, **f.problem._asdict()} for f in prepared.findings],
                "task": prepared.task.describe(),
            }
        )
    else:
        for finding in prepared.findings:
            print(finding)
    if prepared.errors:
        raise typer.Exit(3)
    if not json:
        print("ready: nothing stands against this run.")


def resume(
    name: RunName,
    set_: Settings = [],  # noqa: B006
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Go on although data, settings or code changed; it is recorded.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the result alone.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Go on with a run that was stopped or killed.

    It goes on exactly where its last checkpoint is, and is refused if settings, data or code have changed.
    """
    from regimen.execute import resume as execute
    from regimen.listing import resolve

    with _progress(quiet) as listeners:
        record = execute(resolve(runs, name), set_, allow_changes=allow_changes, listeners=listeners)
    _told(record)


def stop(name: RunName, runs: Runs = Path("runs")) -> None:
    """Ask a running run to save and stop."""
    from regimen.handle import STOP_FILE
    from regimen.listing import resolve
    from regimen.records.writer import is_locked

    folder = resolve(runs, name)
    if not is_locked(folder):
        print(f"{folder} is not running.")
        raise typer.Exit(2)
    (folder / STOP_FILE).touch()
    print(f"asked {folder} to save and stop.")


def clone(
    name: RunName,
    out: Annotated[Path, typer.Argument(metavar="OUT.yaml", help="Where to write the description.")],
    runs: Runs = Path("runs"),
) -> None:
    """Write a run's settings as a new RUN.yaml."""
    import yaml

    from regimen.listing import resolve
    from regimen.records.reader import load
    from regimen.records.writer import replace_file

    if out.exists():
        raise typer.BadParameter(f"{out} exists.", param_hint="OUT.yaml")
    passed = load(resolve(runs, name)).spec["passed"]
    replace_file(out, yaml.safe_dump(passed, sort_keys=False, allow_unicode=True).encode())
    print(f"wrote {out}.")


def demo(
    out: Annotated[Path, typer.Option("--out", help="Where the demo's runs go.")] = Path("demo"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the result alone.")] = False,
) -> None:
    """Train a tiny model in two stages, as a demo.

    It takes about two minutes on one core and says where the reports are.
    """
    from regimen.demo import demo as both
    from regimen.demo import summary

    with _progress(quiet) as listeners:
        done = both(out, listeners)
    print(summary(done))


@contextmanager
def _progress(quiet: bool) -> Iterator[list[Any]]:
    """What listens to the run's events while it goes: the progress display, unless quiet."""
    from regimen.processes import is_first

    if quiet or not is_first():
        yield []
        return
    from regimen.progress import Progress

    with Progress(sys.stderr) as display:
        yield [display]


def _told(record: Any) -> None:
    from regimen.processes import is_first

    if not is_first():
        return
    print(f"{record.name}: {record.status}")
    for key, value in sorted(record.final.items()):
        if not key.startswith("train/"):
            print(f"  {key:<28} {value:.6g}")
    print(f"  record  {record.folder}")
    print(f"  report  {record.folder / 'report.html'}")


def _print_json(body: Any) -> None:
    import json

    print(json.dumps(body, indent=1, ensure_ascii=False, default=str))


COMMANDS = (run, check, resume, stop, clone, demo)
