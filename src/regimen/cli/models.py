"""Commands about what runs leave: generate, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regimen.cli.running import RunName, Runs


def generate(
    name: RunName,
    prompt: Annotated[
        str | None, typer.Argument(help="The question; without, lines are read from standard input.")
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--plain", help="As a turn of a chat or as bare text; unset: as it was trained."),
    ] = None,
    base: Annotated[bool, typer.Option("--base", help="Ask the model as it was before training, too.")] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws, above temperature 0.")] = 0,
    runs: Runs = Path("runs"),
) -> None:
    """Ask a trained model; the answer is streamed."""
    from regimen.finetune.answers.asking import Asking
    from regimen.finetune.answers.generate import Sampling
    from regimen.listing import resolve

    asking = Asking(resolve(runs, name), chat=chat, with_base=base)
    for question in [prompt] if prompt is not None else (line.rstrip("\n") for line in sys.stdin):
        for who, pieces in asking.answers(question, max_new_tokens, Sampling(temperature, seed)):
            if base:
                print(f"{who}: ", end="")
            for piece in pieces:
                print(piece, end="", flush=True)
            print()


def export(
    name: RunName,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to; must be empty or absent.")],
    merged: Annotated[bool, typer.Option("--merged", help="One full model: the adapter merged into its base.")] = False,
    precision: Annotated[str, typer.Option(help="Of a merged model: fp32 or bf16.")] = "fp32",
    runs: Runs = Path("runs"),
) -> None:
    """Copy or merge the model that a run left.

    A merge goes into the base in full precision, also where training had it in 4 bits.
    """
    from regimen.finetune.results import merge
    from regimen.listing import resolve

    folder = resolve(runs, name)
    if not merged:
        print(f"wrote {merge.export(folder, out)}")
        return
    dtypes = merge.DTYPES
    if precision not in dtypes:
        raise typer.BadParameter(f"{precision!r} is none of {', '.join(dtypes)}.", param_hint="--precision")
    made = merge.merge(folder, out, dtype=dtypes[precision])
    print(f"wrote {made.folder}; its logits differ from base with adapter by at most {made.difference:.3g}.")


COMMANDS = (generate, export)
