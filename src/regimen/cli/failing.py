"""What the command line says when something went wrong: one message, no traceback unless asked for, the right exit
code.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback as tracebacks
from pathlib import Path
from typing import Any

import typer

from regimen.errors import RegimenError

# Typer brought its own copy of click with it in 0.26 and used the package before: its base class is asked for here.
_ClickError = typer.BadParameter.__mro__[2]


LLM = frozenset(
    {"torch", "transformers", "tokenizers", "safetensors", "peft", "datasets", "pyarrow", "accelerate", "trl", "jinja2"}
)
"""What the extra `llm` installs."""

_WORDS = {
    "Input should be greater than or equal to": "expected at least",
    "Input should be a valid integer": "expected a whole number",
    "Input should be": "expected",
}


def report(error: BaseException, *, traceback: bool = False) -> int:
    """Prints the message to stderr and returns the exit code."""
    if traceback:
        tracebacks.print_exception(error)
    if isinstance(error, RegimenError):
        for problem in error.problems:
            print(f"regimen: {problem}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, _ClickError):
        _show_usage(error)
        return 2
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        print("regimen: interrupted.", file=sys.stderr)
        return 5
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()  # the reader of our output went away, as `| head` does
        return 0
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in LLM:
        fix = "Install PyTorch first, then: pip install 'regimen-ml[llm]'."
        print(f"regimen: language models need {error.name}, which is not installed. {fix}", file=sys.stderr)
        return 2
    path = _keep("".join(tracebacks.format_exception(error)) + f"\ncommand: {sys.argv}\n")
    print(
        f"regimen: an error of Regimen itself: {type(error).__name__}: {error}. Please report it with {path}.",
        file=sys.stderr,
    )
    return 70


def _keep(text: str) -> Path:
    """Writes it into the current folder, or for temporary files where that cannot be written; where it is."""
    name = f"regimen-error-{time.strftime('%Y-%m-%d-%H-%M-%S')}.txt"
    try:
        path = Path(name).resolve()
        path.write_text(text, encoding="utf-8", errors="replace")
    except OSError:
        path = Path(tempfile.gettempdir()) / name
        path.write_text(text, encoding="utf-8", errors="replace")
    return path


def _show_usage(error: Any) -> None:
    """Says which argument is wrong and where the help is; a command that was given nothing shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return
    text = str(error.format_message()).partition(", unable to parse")[0].rstrip(".?")
    for pydantics, ours in _WORDS.items():
        text = text.replace(pydantics, ours)
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "regimen"
    print(f"regimen: {text[:1].lower()}{text[1:]}. `{command} --help` shows what there is.", file=sys.stderr)
