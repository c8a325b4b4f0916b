"""The command line. `main` turns every error into one message and the right exit code; the commands are in the files
beside.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from regimen.cli.app import app
from regimen.cli.failing import report


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; the installed `regimen` script calls it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # what an encoding cannot say becomes `?`, and the command goes on
        sys.stdout.reconfigure(errors="replace")
    try:
        rest = [word for word in words if word != "--traceback"]  # it may stand anywhere
        code = app(rest, prog_name="regimen", standalone_mode=False)
    except SystemExit as ended:
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":  # typer's: the reader went away, as `| head` does
            return 0
        return int(ended.code or 0) if not isinstance(ended.code, str) else 2
    except BaseException as error:  # noqa: BLE001 - the top: whatever it is gets one message and an exit code
        return report(error, traceback="--traceback" in words)
    return code if isinstance(code, int) else 0
