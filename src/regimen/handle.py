"""The handle a strategy gets: its budget, its seeds, where its results go, and whether to stop. All it sees of the
world.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from regimen.randomness import derived_generator, derived_seed
from regimen.spec import Progress, RunSettings

STOP_FILE = "stop"
"""A file of this name in a run's folder asks the run to save and stop."""
_LOOK_EVERY_S = 0.02
"""Between two looks for that file, unless something is recorded; a look costs a small step a tenth of its time."""


class Journal(Protocol):
    """Where events go; `records.RecordWriter` is the one that keeps them."""

    @property
    def length(self) -> int: ...
    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def resumed(self, step: int, keep: int) -> None: ...
    def sync(self) -> None: ...


class CheckpointStore(Protocol):
    """Where checkpoints go; `checkpoint.Checkpoints` is the one that keeps them."""

    def save(self, step: int, state: Mapping[str, Any], *, best: bool = False) -> None: ...
    def newest(self) -> Restored | None: ...
    def best(self) -> Restored | None: ...


class Restored(NamedTuple):
    step: int
    state: dict[str, Any]


class Run:
    """One run, as its strategy sees it.

    `seed`      all randomness comes from it, through `generator` and `seed_for`
    `budget`    when to stop; `should_stop` compares it with what was spent
    `settings`  what else the user asked for: when to evaluate, save and record, on which device
    `artifacts` a folder for what is left: an adapter, a model, an architecture
    """

    def __init__(
        self,
        *,
        settings: RunSettings,
        folder: Path,
        journal: Journal,
        checkpoints: CheckpointStore,
        resuming: bool = False,
        started: bool = False,
    ) -> None:
        self.settings, self.budget, self.seed, self.folder = settings, settings.budget, settings.seed, folder
        self.spent = Progress()
        self._journal, self._checkpoints = journal, checkpoints
        self._resuming, self._restart = resuming, started
        self._begun, self._early = not resuming, list[str]()
        self._generators: dict[str, np.random.Generator] = {}
        self._callbacks: list[Callable[[int, Mapping[str, float]], None]] = []
        self._stop_reason: str | None = None
        self._stop_file, self._look_at = folder / STOP_FILE, 0.0
        self.recorded_keys: set[str] = set()
        """The metrics that were recorded, by this process."""
        self._earlier_s, self._began = 0.0, time.monotonic()

    @classmethod
    def unrecorded(
        cls,
        folder: Path,
        settings: RunSettings | None = None,
        *,
        checkpoints: CheckpointStore | None = None,
        resuming: bool = False,
    ) -> Run:
        """A run that keeps nothing but its artifacts: for hooks used by hand, and for all but the first of several
        processes, which read `checkpoints` and write none.
        """
        silent = _Silent(checkpoints)
        return cls(
            settings=settings or RunSettings(),
            folder=folder,
            journal=silent,
            checkpoints=silent,
            resuming=resuming,
        )

    @property
    def artifacts(self) -> Path:
        folder = self.folder / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, those before a resume included."""
        return self._earlier_s + time.monotonic() - self._began

    # ------------------------------------------------------------------ what happened

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Records numbers at a step. Keys are `<split>/<name>`; `time/...` is for what differs from run to run."""
        self.begin()
        numbers = {key: float(value) for key, value in values.items()}
        self._journal.metrics(step, numbers)
        self.recorded_keys.update(numbers)
        self._look_at = 0.0
        for callback in self._callbacks:
            callback(step, numbers)

    def listen(self, callback: Callable[[int, Mapping[str, float]], None]) -> None:
        """Has `callback(step, values)` called for every recorded line from now on."""
        self._callbacks.append(callback)

    def note(self, text: str) -> None:
        """Records a sentence that a reader of the result must know."""
        if self._begun:
            self._journal.note(text)
        else:  # what is written before it is known where a resume goes on would be superseded
            self._early.append(text)

    # ------------------------------------------------------------------ randomness

    def seed_for(self, *parts: str | int) -> int:
        """A seed for one purpose, the same in every process and after every resume."""
        return derived_seed(self.seed, *parts)

    def generator(self, name: str) -> np.random.Generator:
        """A generator with a life of its own: its state is part of every checkpoint."""
        if name not in self._generators:
            self._generators[name] = derived_generator(self.seed, "generator", name)
        return self._generators[name]

    # ------------------------------------------------------------------ stopping

    def request_stop(self, reason: str) -> None:
        """Asks the strategy to save and return at its next look."""
        self._stop_reason = self._stop_reason or reason

    @property
    def stop_reason(self) -> str | None:
        """Why the run was asked to stop from outside, if it was; the budget is no such reason."""
        if self._stop_reason is None and (now := time.monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            if self._stop_file.exists():
                self._stop_reason = "it was asked to"
        return self._stop_reason

    def should_stop(self, step: int, *, epochs: float = 0.0, passes: int = 0, tokens: int = 0) -> bool:
        """Whether to stop before taking another step, `step` having been taken: budget spent, or asked to."""
        self.spent = Progress(step, epochs, passes, tokens, self.elapsed_s)
        return self.budget.exhausted(self.spent) or self.stop_reason is not None

    # ------------------------------------------------------------------ checkpoints

    def checkpoint(self, step: int, state: Mapping[str, Any], *, best: bool = False) -> None:
        """Saves `state` (nested dicts and lists of numbers, texts and tensors) as the point to go on from.

        Whole or not at all: a kill at any moment leaves the previous one valid. Raises `DiskFull`.
        """
        self.begin()
        self._journal.sync()
        own = {
            "keep": self._journal.length,
            "seconds": self.elapsed_s,
            "generators": {name: generator.bit_generator.state for name, generator in self._generators.items()},
        }
        self._checkpoints.save(step, {"run": own, "state": dict(state)}, best=best)

    def restore(self) -> Restored | None:
        """The newest good checkpoint of the run that is being resumed; None if there is none, or nothing to resume."""
        found = self._checkpoints.newest() if self._resuming else None
        if found is None:
            return None
        own = found.state["run"]
        self._earlier_s, self._began = own["seconds"], time.monotonic()
        for name, state in own["generators"].items():
            self.generator(name).bit_generator.state = state
        self._restart = False
        self._journal.resumed(found.step, own["keep"])
        self.begin()
        return Restored(found.step, found.state["state"])

    def best_checkpoint(self) -> Restored | None:
        """The checkpoint that was saved as the best so far."""
        found = self._checkpoints.best()
        return Restored(found.step, found.state["state"]) if found else None

    def begin(self) -> None:
        """Writes down what was noted so far. A resumed run that took nothing back starts again: what it recorded
        before is superseded.
        """
        if self._restart:
            self._restart = False
            self._journal.resumed(0, 0)
        self._begun = True
        early, self._early = self._early, []
        for text in early:
            self._journal.note(text)


class _Silent:
    """Keeps nothing; reads the checkpoints of another."""

    length = 0

    def __init__(self, reads: CheckpointStore | None) -> None:
        self._reads = reads

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def resumed(self, step: int, keep: int) -> None: ...
    def sync(self) -> None: ...
    def save(self, step: int, state: Mapping[str, Any], *, best: bool = False) -> None: ...

    def newest(self) -> Restored | None:
        return self._reads.newest() if self._reads else None

    def best(self) -> Restored | None:
        return self._reads.best() if self._reads else None
