"""Commands that read records: list, show, logs, diff, prune. None of them imports torch."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from regimen.cli.running import AsJson, RunName, Runs, _print_json


def list_(
    runs: Runs = Path("runs"),
    status: Annotated[str | None, typer.Option(help="Only runs with this status.")] = None,
    task: Annotated[str | None, typer.Option(help="Only runs of this task.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Only runs of this strategy.")] = None,
    metric: Annotated[str | None, typer.Option(help="The metric to show, such as valid/loss.")] = None,
    json: AsJson = False,
) -> None:
    """List the runs below a folder, newest first."""
    from regimen import listing

    found = listing.list_runs(runs, status=status, task=task, strategy=strategy, metric=metric)
    if json:
        print(listing.to_json(found))
        return
    if sys.stdout.isatty():
        print_rich(listing.table(found))
    else:
        print(listing.plain(found))
    said = listing.warning(found)
    if said:
        print(said, file=sys.stderr)


def show(name: RunName, runs: Runs = Path("runs"), json: AsJson = False) -> None:
    """Show one run: status, settings, results, notes."""
    from regimen.listing import resolve
    from regimen.records.reader import load

    record = load(resolve(runs, name))
    if json:
        body = {
            "id": record.id,
            "status": record.status,
            "folder": str(record.folder),
            "settings": record.settings,
            "final": record.final,
        }
        _print_json(
            {
                **body,
                "state": record.state,
                "notes": record.notes,
                "resumes": record.resumes,
                "artifacts": record.artifacts,
            }
        )
        return
    print(record.name)
    print(f"  status   {record.status}{_reason(record.state.get('message'))}")
    print(f"  id       {record.id}\n  folder   {record.folder}")
    for key, points in sorted(record.curves.items()):
        if not key.startswith("time/"):
            first, last = points[0], points[-1]
            print(f"  {key:<28} {first.value:.6g} (step {first.step}) -> {last.value:.6g} (step {last.step})")
    for note in record.notes:
        print(f"  note     {note}")
    for path in record.artifacts:
        print(f"  artifact {path}")


def _reason(message: str | None) -> str:
    return f": {message}" if message else ""


def logs(
    name: RunName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing what the run writes, until it ends.")
    ] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Print what a run printed."""
    from regimen.listing import resolve
    from regimen.records.writer import is_locked

    folder = resolve(runs, name)
    path, position = folder / "log.txt", 0
    while True:
        running = is_locked(folder)
        if path.exists():
            with path.open(encoding="utf-8", errors="replace") as log:
                log.seek(position)
                sys.stdout.write(log.read())
                sys.stdout.flush()
                position = log.tell()
        if not (follow and running):
            return
        time.sleep(0.5)


def diff(a: RunName, b: RunName, runs: Runs = Path("runs"), json: AsJson = False) -> None:
    """Show how two runs differ, causes first.

    Settings, data, code and versions, then results and the first step at which numbers part.
    """
    from regimen import differences
    from regimen.listing import resolve
    from regimen.records.reader import load

    found = differences.compare(load(resolve(runs, a)), load(resolve(runs, b)))
    if json:
        print(differences.to_json(found))
    elif sys.stdout.isatty():
        print_rich(differences.table(found))
    else:
        print(differences.plain(found))


def prune(
    name: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="One run; without, every run that is not running.")
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="Checkpoints to keep of each run, the best one besides.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, delete nothing.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Delete old checkpoints. The newest good one and the best one always stay."""
    from regimen.listing import resolve
    from regimen.pruning import prune_run
    from regimen.records.index import run_folders

    total = 0
    for folder in [resolve(runs, name)] if name else list(run_folders(runs)):
        for path, size in prune_run(folder, keep, dry_run=dry_run):
            total += size
            print(f"{'would delete' if dry_run else 'deleted'} {path} ({size / 1e6:.1f} MB)")
    print(f"{total / 1e6:.1f} MB {'would be' if dry_run else 'were'} freed.")


def print_rich(what: object) -> None:
    """Prints a rich table or text on a terminal, in colour."""
    from rich.console import Console

    Console().print(what)


list_.command_name = "list"  # type: ignore[attr-defined]
COMMANDS = (list_, show, logs, diff, prune)
