"""One task's way through a study: from what is in the log, the runs that are still wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from regimen.errors import Problem, RecordError
from regimen.study.description import TuneSettings
from regimen.study.ranking import Standing, score, standings
from regimen.study.trial import Place, Purpose, Setting, Trial, Wanted, Wish
from regimen.study.tuners import Scores, Tuner


@dataclass(frozen=True)
class Course:
    """A task, its tuner, and the log, which is all that it knows of the past."""

    task: str
    base: Mapping[str, Any]
    """The run description that settings are put on."""
    budget: Mapping[str, float]
    """Of the reruns, and of all runs without rungs: its limits by unit."""
    epochs: float | None
    """The whole budget, if it is in epochs."""
    whole_epochs: bool
    """Whether its runs know no shorter budget than an epoch."""
    tune: TuneSettings
    tuner: Tuner
    restarts: str
    """Why a promoted setting is trained from the start; empty if it goes on from its checkpoint."""
    log: Mapping[Place, Trial]
    folder: Path
    """Of the study."""

    @property
    def mode(self) -> Literal["min", "max"]:
        return self.tune.mode or "min"

    def wanted(self) -> list[Wanted]:
        """The runs that can be done now; empty when all are in the log."""
        wishes = self.tuner.wishes(self.scores())
        if wishes:
            return [run for wish in wishes for seed in self.tune.seeds for run in self._missing("tuning", wish, seed)]
        best = self.best()
        if best is None:
            return []
        again = Wish(best.number, best.setting)
        return [run for seed in self.tune.fresh_seeds for run in self._missing("rerun", again, seed)]

    def scores(self) -> Scores:
        """Of each setting whose tuning seeds are all in the log."""
        groups: dict[tuple[int, int], list[Trial]] = {}
        for trial in self.trials("tuning"):
            groups.setdefault((trial.place.number, trial.place.rung), []).append(trial)
        whole = {place: trials for place, trials in groups.items() if len(trials) == len(self.tune.seeds)}
        return {place: score(trials, self.tune.over, self.mode) for place, trials in whole.items()}

    def standings(self) -> list[Standing]:
        """All settings that were tried, best first."""
        return standings(self.trials("tuning"), over=self.tune.over, mode=self.mode)

    def best(self) -> Standing | None:
        """The setting that is rerun; None where none trained to the end with every seed."""
        first = next(iter(self.standings()), None)
        return first if first is not None and first.value is not None else None

    def trials(self, purpose: Purpose) -> list[Trial]:
        """Of this task, in order of their places."""
        found = [t for t in self.log.values() if t.place.task == self.task and t.place.purpose == purpose]
        return sorted(found, key=lambda trial: trial.place)

    def most(self) -> list[tuple[int, float | None]]:
        """Runs at most, with the epochs that each costs: rungs of the tuner, then the reruns."""
        before, found = 0.0, list[tuple[int, float | None]]()
        for settings, epochs in self.tuner.most():
            length = self.epochs if epochs is None else epochs
            cost = None if length is None else length - (0.0 if self.restarts else before)
            found.append((settings * len(self.tune.seeds), cost))
            before = length or 0.0
        return [*found, (len(self.tune.fresh_seeds), self.epochs)]

    def dispensable(self) -> list[str]:
        """Folders of tuning runs whose checkpoints nothing will go on from."""
        waiting = {(run.place.number, run.place.seed) for run in self.wanted() if run.goes_on_from}
        scores, folders = self.scores(), dict[str, bool]()
        for trial in self.trials("tuning"):
            number, rung, seed = trial.place.number, trial.place.rung, trial.place.seed
            free = (number, rung) in scores and (number, seed) not in waiting and self._decided(rung, scores)
            folders[trial.folder] = free  # of one that goes through several rungs, the highest decides
        return [folder for folder, free in folders.items() if folder and free]

    def _decided(self, rung: int, scores: Scores) -> bool:
        """Whether nothing waits for this rung any more."""
        last = len(self.tuner.most()) - 1
        return rung == last or all(wish.rung > rung for wish in self.tuner.wishes(scores))

    def check_log(self) -> None:
        """Raises `RecordError` where the log has other settings than the tuner chooses now."""
        self.tuner.wishes(self.scores())
        for trial in self.trials("tuning"):
            setting = self.tuner.setting(trial.place.number)
            if setting is None or not _same(setting, trial.setting):
                text = f"trial {trial.place.number} was {dict(trial.setting)} and would be {setting} now."
                fix = "Another version of Optuna or SciPy chooses otherwise: use the earlier one, or another `output`."
                raise RecordError(Problem(str(self.folder), text, fix))

    def _missing(self, purpose: Purpose, wish: Wish, seed: int) -> list[Wanted]:
        place = Place(self.task, purpose, wish.number, wish.rung, seed)
        if place in self.log:
            return []
        below = self.log.get(place._replace(rung=wish.rung - 1)) if wish.rung and not self.restarts else None
        if below is None or not below.folder:
            return [Wanted(place, wish.setting, wish.epochs)]
        before = self.tuner.most()[wish.rung - 1][1] or 0.0
        return [Wanted(place, wish.setting, wish.epochs, str(self.folder / below.folder), before)]


def _same(a: Setting, b: Setting) -> bool:
    return a.keys() == b.keys() and all(_alike(a[path], b[path]) for path in a)


def _alike(a: object, b: object) -> bool:
    """Equal, or two numbers that differ in their last bits alone."""
    numbers = isinstance(a, float) and isinstance(b, int | float)
    return a == b or (numbers and math.isclose(a, b))  # type: ignore[arg-type]  # both are numbers there
