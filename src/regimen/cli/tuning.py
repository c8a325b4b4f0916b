"""The command about studies of one strategy: tune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regimen.cli.running import AsJson, Settings


def tune(
    file: Annotated[str, typer.Argument(metavar="TUNE.yaml", help="The description of the study.")],
    set_: Settings = [],  # noqa: B006 - typer reads it
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs and estimate the time; train nothing.")
    ] = False,
    commands: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the runs of the next phase as commands for a cluster.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress; the result alone.")] = False,
    json: AsJson = False,
) -> None:
    """Tune a strategy: try settings, choose by validation, train the choice again with fresh seeds.

    Interrupted, the same command goes on where it was. What ran elsewhere is found by its content.
    """

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    if dry_run:
        from regimen.study.estimate import estimated

        print(estimated(file, set_, say=say).text())
        return
    if commands is not None:
        from regimen.study.commands import write_commands

        print(write_commands(file, commands, set_, say=say))
        return
    from regimen.study.report import study_json
    from regimen.study.tuning import tune as study

    report = study(file, set_, say=say)
    print(study_json(report) if json else f"{report.text()}\n  report  {report.folder / 'report.json'}")


COMMANDS = (tune,)
