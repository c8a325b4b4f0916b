"""The command that compares runs: analyze. It imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from regimen.cli.running import AsJson

if TYPE_CHECKING:
    from regimen.analysis.measure import Rule


def analyze(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Runs of ours, a study's folder, or DeepOBS results (a folder, .tar.gz, or .jsonl.gz).",
        ),
    ],
    metric: Annotated[
        str | None,
        typer.Option(help="As test/accuracy, or accuracy alone. Unset: accuracy where there is one, else loss."),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="What counts of a run: final, or best (its best evaluation); most: the setting run on most seeds. "
            "Unset: final."
        ),
    ] = None,
    target: Annotated[
        list[str],
        typer.Option(
            metavar="[PROBLEM=]VALUE", help="The value whose time is measured. Unset: taken from the runs. Repeatable."
        ),
    ] = [],  # noqa: B006 - typer reads it
    keep_tuning_seeds: Annotated[
        bool, typer.Option("--keep-tuning-seeds", help="Count the seeds that chose the setting, too, as DeepOBS does.")
    ] = False,
    hyperparameter: Annotated[
        str | None, typer.Option(help="Of which the sensitivity is measured. Unset: the learning rate.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a page (HTML) to this file.")] = None,
    json: AsJson = False,
) -> None:
    """Compare optimizers over runs: best settings, spreads, time to target, differences, sensitivity.

    Settings are chosen on validation data where it was measured, and the seeds that chose are left out of the result.
    """
    from regimen.analysis.plainjson import as_json
    from regimen.analysis.reading import read_runs
    from regimen.analysis.summary import Question, summarize
    from regimen.analysis.text import as_text

    question = Question(
        metric=metric,
        rule=_rule(rule),
        targets=dict(map(_target, target)),
        keep_tuning_seeds=keep_tuning_seeds,
        hyperparameter=hyperparameter,
    )
    summary = summarize(read_runs(folder), question)
    if output is not None:
        from regimen.analysis.page import write_page

        write_page(summary, output)
    print(as_json(summary) if json else as_text(summary))
    if output is not None and not json:
        print(f"\npage: {output}")


def _rule(text: str | None) -> Rule | None:
    from typing import get_args

    from regimen.analysis.measure import Rule
    from regimen.errors import Problem, SpecError, did_you_mean

    rules: tuple[Rule, ...] = get_args(Rule)
    for rule in rules:
        if text == rule:
            return rule
    if text is None:
        return None
    raise SpecError(Problem("--rule", f"{text!r} is not known.", did_you_mean(text, rules)))


def _target(text: str) -> tuple[str, float]:
    """`0.92` is for every problem."""
    from regimen.errors import Problem, SpecError

    problem, _, value = text.rpartition("=")
    try:
        return problem or "*", float(value)
    except ValueError as error:
        fix = "Write a number, or PROBLEM=NUMBER."
        raise SpecError(Problem("--target", f"{text!r} is not a value to reach.", fix)) from error


COMMANDS = (analyze,)
