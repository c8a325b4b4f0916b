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

    >>> time_left(deque([Spent(10.0, 0.5), Spent(12.0, 0.75)]))
    2.0
    """
    if not moments:
        return None
    first, last = moments[0], moments[-1]
    taken, spent = last.elapsed_s - first.elapsed_s, last.fraction - first.fraction
    if spent <= 0 or not math.isfinite(taken / spent):
        return None
    return max(0.0, (1.0 - last.fraction) * taken / spent)


class Pace:
    """How fast a run goes, from its recorded numbers: the training, or that stage after it which is under way."""

    def __init__(self) -> None:
        self.phase = ""
        """What the last numbers were of; see `phase_of`."""
        self.elapsed_s: float | None = None
        """Seconds of training, as last recorded."""
        self._moments: deque[Spent] = deque(maxlen=_WINDOW)
        self._began: Spent | None = Spent(0.0, 0.0)
        """Where the phase began; None where that was not heard."""

    def hear(self, values: Mapping[str, float]) -> None:
        """One recorded line."""
        phase = next((phase_of(key) for key in values if not key.startswith("time/")), self.phase)
        if phase != self.phase:  # it has a budget of its own, and begins where the one before it ended
            self.phase = phase
            self._moments.clear()
            self._began = None if self.elapsed_s is None else Spent(self.elapsed_s, 0.0)
        if "time/fraction" in values and "time/elapsed_s" in values:
            self.elapsed_s = values["time/elapsed_s"]
            self._moments.append(Spent(self.elapsed_s, values["time/fraction"]))

    def begin_again(self) -> None:
        """After a resume, on another machine perhaps: what was before says nothing about what is left."""
        self._moments.clear()
        self._began = None if self.phase else self._began

    @property
    def fraction(self) -> float | None:
        """Of the budget of the phase, 0 to 1; None where nothing was recorded of it."""
        return self._moments[-1].fraction if self._moments else None

    @property
    def left_s(self) -> float | None:
        """Seconds until that budget is spent at the recorded pace; None if unknown."""
        if len(self._moments) == 1 and self._began is not None:
            return time_left(deque([self._began, *self._moments]))
        return time_left(self._moments)


class Progress:
    """A listener of `RecordWriter` events that draws on `stream` (standard error if not given).

    A bar is drawn where the stream is a terminal, else plain lines are printed; `terminal` overrules that.
    """

    def __init__(self, stream: TextIO | None = None, *, terminal: bool | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self._terminal = self.stream.isatty() if terminal is None else terminal
        self._pace = Pace()
        self._latest: dict[str, float] = {}
        self._bar: Bar | None = None
        self._drawn = False

    def __call__(self, event: Event) -> None:
        """Shows one event. Knows nothing that is not in an event."""
        if isinstance(event, Metrics):
            self._metrics(event)
        elif isinstance(event, Note):
            self._say(f"note: {event.text}")
        elif isinstance(event, Resumed):
            self._pace.begin_again()
            self._say(f"resumed from step {event.resumed_from}")
        else:
            assert isinstance(event, Header)
            self._pace, self._latest = Pace(), {}  # another run: a demo or a study shows several

    def __enter__(self) -> Progress:
        if self._terminal:
            # Before the run puts its log between: what is printed then goes above the bar, and is given back in turn.
            self._begin(redirect=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the bar as it stands and gives the terminal back."""
        if self._bar is not None:
            self._bar.live.transient = not self._drawn  # nothing is left of a bar that had nothing to show
            self._bar.stop()
            self._bar = None

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the recorded pace; None if unknown."""
        return self._pace.left_s

    def _metrics(self, event: Metrics) -> None:
        before = self._pace.phase
        self._pace.hear(event.values)
        phase = self._pace.phase
        values = {key.removeprefix(f"{phase}_"): value for key, value in event.values.items()}
        self._latest = values if phase != before else self._latest | values
        where = f"{phase.replace('_', ' ')}  " if phase else ""
        if "train/loss" in values or (self._terminal and "train/loss" in self._latest):
            text = line(event.step, self._latest, self.eta_s)
        else:
            told = {key: value for key, value in values.items() if not key.startswith("time/") and key != "train/epoch"}
            named = [f"{key.removeprefix(f'{phase}/').replace('/', ' ')} {number(told[key])}" for key in told]
            text = "  ".join([f"step {event.step}", *named, *_spent(values, self.eta_s)])
        if self._terminal:
            self._draw(where + text)
        else:
            self._say(where + text)

    def _draw(self, text: str) -> None:
        bar = self._bar or self._begin(redirect=False)
        fraction = self._pace.fraction or 0.0
        total = 1.0 if fraction > 0 else None
        bar.update(bar.task_ids[0], total=total, completed=fraction, description=text)
        bar.refresh()
        self._drawn = True

    def _begin(self, *, redirect: bool) -> Bar:
        """A bar on the terminal. `redirect`: until it is closed, all that is printed goes above it."""
        self._bar = _bar(self.stream, redirect)
        self._bar.add_task("starting", total=None)
        self._bar.start()
        return self._bar

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
    head, slash, _ = key.partition("/")
    if not slash:  # a number of somebody's own loop
        return ""
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
    return "  ".join([*parts, *_spent(latest, eta_s)])


def _spent(values: Mapping[str, float], eta_s: float | None) -> list[str]:
    if not values.get("time/fraction"):
        return []
    left = f" eta {duration(eta_s)}" if eta_s is not None and values["time/fraction"] < 1 else ""
    return [f"{100 * values['time/fraction']:.0f}%{left}"]


def _loss(value: float) -> str:
    """Three digits after the point, so that lines stand under one another; tiny and huge ones as they are."""
    return f"{value:.3f}" if 0.01 <= abs(value) < 1e6 or value == 0 else number(value)


def _bar(stream: TextIO, redirect: bool) -> Bar:
    """Redrawn by events alone: a thread of its own would not survive a fork of the training process."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    console = Console(file=stream, force_terminal=True)
    text = TextColumn("{task.description}", markup=False)
    return RichProgress(
        BarColumn(bar_width=24),
        text,
        console=console,
        auto_refresh=False,
        redirect_stdout=redirect,
        redirect_stderr=redirect,
    )
