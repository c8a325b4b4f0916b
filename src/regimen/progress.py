"""Shows how a run goes, from its recorded events only: a bar on a terminal, a plain line a log interval elsewhere.

    with Progress() as display:
        regimen.run("run.yaml", listeners=[display])

The time left is computed from the recorded `time/elapsed_s` and `time/fraction` of the budget; without a budget
there is none.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TextIO

from regimen.events import Event, Header, Metrics, Note, Resumed
from regimen.readable import duration, number

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_WINDOW = 50
"""Recorded lines from which the pace is taken: enough to level out an evaluation, few enough to follow a change."""


class Spent(NamedTuple):
    """One recorded moment: seconds of training, and the fraction (0 to 1) of the budget that they took."""

    elapsed_s: float
    fraction: float


def time_left(moments: deque[Spent]) -> float | None:
    """Seconds until the budget is spent at the pace of `moments`; None where they do not tell.

    >>> time_left(deque([Spent(10.0, 0.25)])), time_left(deque([Spent(10.0, 0.5), Spent(12.0, 0.75)]))
    (30.0, 2.0)
    """
    if not moments:
        return None
    last = moments[-1]
    # A single moment is measured from the start of the run, which took neither time nor budget.
    first = moments[0] if len(moments) > 1 else Spent(0.0, 0.0)
    taken, spent = last.elapsed_s - first.elapsed_s, last.fraction - first.fraction
    if spent <= 0 or not math.isfinite(taken / spent):
        return None
    return max(0.0, (1.0 - last.fraction) * taken / spent)


class Progress:
    """A listener of `RecordWriter` events that draws on `stream` (standard error if not given).

    A bar is drawn where the stream is a terminal, else plain lines are printed; `terminal` overrules that.
    """

    def __init__(self, stream: TextIO | None = None, *, terminal: bool | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self._terminal = self.stream.isatty() if terminal is None else terminal
        self._moments: deque[Spent] = deque(maxlen=_WINDOW)
        self._latest: dict[str, float] = {}
        self._phase = ""
        self._bar: Bar | None = None

    def __call__(self, event: Event) -> None:
        """Shows one event. Knows nothing that is not in an event."""
        if isinstance(event, Metrics):
            self._metrics(event)
        elif isinstance(event, Note):
            self._say(f"note: {event.text}")
        elif isinstance(event, Resumed):
            self._moments.clear()
            self._say(f"resumed from step {event.resumed_from}")
        else:
            assert isinstance(event, Header)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the bar as it stands and gives the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the recorded pace; None if unknown."""
        return time_left(self._moments)

    def _metrics(self, event: Metrics) -> None:
        phase = next((phase_of(key) for key in event.values if not key.startswith("time/")), self._phase)
        if phase != self._phase:  # neither its losses nor its pace are those of what comes now
            self._phase, self._latest = phase, {}
            self._moments.clear()
        values = {key.removeprefix(f"{phase}_"): value for key, value in event.values.items()}
        self._latest |= values
        if "time/fraction" in values and "time/elapsed_s" in values:
            self._moments.append(Spent(values["time/elapsed_s"], values["time/fraction"]))
        where = f"{phase.replace('_', ' ')}  " if phase else ""
        if "train/loss" in values or (self._terminal and "train/loss" in self._latest):
            text = line(event.step, self._latest, self.eta_s)
        else:
            told = {key: value for key, value in values.items() if not key.startswith("time/") and key != "train/epoch"}
            named = [f"{key.removeprefix(f'{phase}/').replace('/', ' ')} {number(told[key])}" for key in told]
            text = "  ".join([f"step {event.step}", *named])
        if self._terminal:
            self._draw(where + text)
        else:
            self._say(where + text)

    def _draw(self, text: str) -> None:
        if self._bar is None:
            self._bar = _bar(self.stream)
            self._bar.add_task("", total=1.0 if self._moments else None)
            self._bar.start()
        fraction = self._moments[-1].fraction if self._moments else 0.0
        total = 1.0 if fraction > 0 else None
        self._bar.update(self._bar.task_ids[0], total=total, completed=fraction, description=text)
        self._bar.refresh()

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self.stream, flush=True)


def phase_of(key: str) -> str:
    """What a metric is of, if not of the training itself: a search, networks trained alone, the exported model.

    >>> phase_of("train/loss"), phase_of("search/best"), phase_of("retrain_valid/accuracy")
    ('', 'search', 'retrain')
    """
    head = key.partition("/")[0]
    for split in ("train_eval", "train", "valid", "test"):
        if head == split or head.endswith(f"_{split}"):
            return head.removesuffix(split).removesuffix("_")
    return head


def line(step: int, latest: Mapping[str, float], eta_s: float | None) -> str:
    """Where a run stands, in one line, from the latest recorded numbers.

    >>> line(40, {"train/loss": 1.234, "valid/loss": 1.3, "time/tokens_per_s": 312.4, "time/fraction": 0.12}, 80.0)
    'step 40  loss 1.234  valid 1.300  312 tok/s  12% eta 1m20s'
    """
    parts = [f"step {step}"]
    if "train/loss" in latest:
        parts.append(f"loss {_loss(latest['train/loss'])}")
    if "valid/loss" in latest:
        parts.append(f"valid {_loss(latest['valid/loss'])}")
    if latest.get("time/tokens_per_s"):
        parts.append(f"{latest['time/tokens_per_s']:,.0f} tok/s")
    if latest.get("time/fraction"):
        left = f" eta {duration(eta_s)}" if eta_s is not None and latest["time/fraction"] < 1 else ""
        parts.append(f"{100 * latest['time/fraction']:.0f}%{left}")
    return "  ".join(parts)


def _loss(value: float) -> str:
    """Three digits after the point, so that lines stand under one another; tiny and huge ones as they are."""
    return f"{value:.3f}" if 0.01 <= abs(value) < 1e6 or value == 0 else number(value)


def _bar(stream: TextIO) -> Bar:
    """Redrawn by events alone: a thread of its own would not survive a fork of the training process."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    console = Console(file=stream, force_terminal=True)
    text = TextColumn("{task.description}", markup=False)
    return RichProgress(BarColumn(bar_width=24), text, console=console, auto_refresh=False)
