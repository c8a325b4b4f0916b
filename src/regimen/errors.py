"""Every error that Regimen raises on purpose, its exit code, and how several wrong places become one message.

RegimenError
├── SpecError (ValueError)            2   settings or arguments are wrong
├── DataError (ValueError)            2   a file cannot be read or parsed
├── MissingExtra (ImportError)        2   an optional package is not installed
├── RecordError (ValueError)          2   a run folder cannot be read
├── Refused (ValueError)              3   everything parses, and preflight says it must not run
│   └── ResumeRefused                 3   the checkpoint belongs to other data, settings or code
├── Diverged (ArithmeticError)        4   a loss or a gradient is not finite
├── Stopped                           5   asked to stop; can be resumed
├── StrategyFailed (RuntimeError)     1   an exception in a strategy or another plug-in
│   └── TrainingError                 1   what a ModelForge strategy raises itself
├── CheckpointError (OSError)        70   a checkpoint that was written cannot be read back
├── ResourceError (OSError)          75   out of disk, memory or processes
│   ├── DiskFull
│   ├── OutOfMemory
│   └── ProcessLost
└── InternalError                    70   our own mistake; a report file is written
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple


class Problem(NamedTuple):
    """One wrong thing, in the order a reader asks: where, what, what was expected, what to do."""

    place: str
    """`train.jsonl:17`, `run.yaml:3 strategy.optimizer.lr`, or a settings path alone."""
    message: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text} {self.fix}" if self.fix else text


class RegimenError(Exception):
    """The root; `exit_code` is what the command line ends with, `problems` is the message in parts."""

    exit_code: ClassVar[int] = 70

    def __init__(self, problems: str | Problem | Sequence[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem("", problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SpecError(RegimenError, ValueError):
    """Settings or arguments are wrong. All of them are reported at once."""

    exit_code = 2


class DataError(RegimenError, ValueError):
    """A data file cannot be read or parsed; every problem names the file and the line."""

    exit_code = 2


class MissingExtra(RegimenError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""

    exit_code = 2


class RecordError(RegimenError, ValueError):
    """A run folder is absent, incomplete, or of a newer format than this version reads."""

    exit_code = 2


class Refused(RegimenError, ValueError):
    """Everything parses, and preflight says that it must not run: nothing has been spent."""

    exit_code = 3


class ResumeRefused(Refused):
    """The checkpoint belongs to other data, settings or code; the message names what changed."""


class Diverged(RegimenError, ArithmeticError):
    """A loss or a gradient is not finite. Raised before the step, so the weights are the last good ones."""

    exit_code = 4

    def __init__(self, problems: str | Problem | Sequence[Problem], step: int) -> None:
        super().__init__(problems)
        self.step = step


class Stopped(RegimenError):
    """The run was asked to stop, saved its state, and can be resumed."""

    exit_code = 5


class StrategyFailed(RegimenError, RuntimeError):
    """An exception in a strategy or another plug-in; the original one is its cause."""

    exit_code = 1


class TrainingError(StrategyFailed):
    """For strategies to raise themselves, under ModelForge's published name."""


class CheckpointError(RegimenError, OSError):
    """A checkpoint that was written cannot be read back."""


class ResourceError(RegimenError, OSError):
    """The machine ran out of something."""

    exit_code = 75


class DiskFull(ResourceError):
    """No space left; the message gives the path and what was needed."""


class OutOfMemory(ResourceError, MemoryError):
    """No memory left on the host or the device."""


class ProcessLost(ResourceError):
    """A process that trained with this one is gone."""


class InternalError(RegimenError):
    """Our own mistake: anything that reaches the top and is none of the above. The original exception is its cause."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, else the whole list.

    >>> did_you_mean("stf", ["sft", "dpo"])
    "Did you mean 'sft'?"
    >>> did_you_mean("frobnicate", ["sft", "dpo"])
    'Known: dpo, sft.'
    """
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(known)}." if known else "None are known."
