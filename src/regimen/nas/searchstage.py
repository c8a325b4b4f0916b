"""The search as a stage of a run: what was judged is recorded, and a stopped search goes on where it was."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

from regimen.errors import Problem, Stopped
from regimen.handle import Run
from regimen.nas.evaluating.standalone import StandaloneEvaluator
from regimen.nas.searching import Found, Search
from regimen.nas.stages import StageRun
from regimen.nas.tabular import written
from regimen.records.writer import replace_file
from regimen.spec import Progress

_LEARNED = -1
"""In place of a number of steps: the searcher has nothing more to learn."""


class SearchStage:
    """One search within a run. `metric` is what a quality is recorded as: accuracy, score."""

    def __init__(self, search: Search, run: StageRun, metric: str = "accuracy") -> None:
        self.search, self.run, self.metric = search, run, metric
        self.recorded = self.learned = 0
        evaluator = search.evaluator
        self.trainings = evaluator if isinstance(evaluator, StandaloneEvaluator) else None
        if restored := run.restore():
            search.load_state_dict(restored.state)
            self.learned, self.recorded = int(restored.state["learned"]), len(search.history)
            if self.trainings:
                self.trainings.load_state_dict(restored.state["evaluator"])
        if self.trainings:  # a network that is trained alone takes long: each is kept, also inside a round
            self.trainings.after_each = self._keep

    def learn(self, learn: Callable[[int], bool]) -> None:
        """Calls `learn(step)` from where it was until it says that there is nothing more."""
        every = self.run.settings.checkpoint.every
        for step in itertools.count(self.learned) if self.learned != _LEARNED else ():
            if not learn(step):
                break
            self.learned = step + 1
            if self.run.stop_reason or self.learned % every == 0:
                self._keep()
        self.learned = _LEARNED

    def go(self) -> Found:
        """Searches to the end; leaves `search.json`."""
        while self.search.step():
            self._tell()
            self._keep()
        self._tell()
        found = self.search.found()
        everything = {
            "found": json_of(found),
            "history": [[list(each.architecture), _finite(each.quality)] for each in self.search.history],
        }
        text = json.dumps(everything, indent=1, allow_nan=False)
        replace_file(self.run.artifacts / "search.json", text.encode())
        self.run.note(f"the search judged {found.num_judged} networks and found {written(found.architecture)}.")
        return found

    def _tell(self) -> None:
        """Records what was judged since the last time."""
        history = self.search.history
        best = max((each.rank for each in history[: self.recorded]), default=-math.inf)
        for number, each in enumerate(history[self.recorded :], self.recorded + 1):
            best = max(best, each.rank)
            spent = self.run.budget.fraction(Progress(steps=number))
            timing = {"time/elapsed_s": self.run.elapsed_s, "time/fraction": spent}
            self.run.log(number, {f"search/{self.metric}": each.quality, "search/best": best, **timing})
        self.recorded = len(history)

    def _keep(self) -> None:
        """Saves where the search is. Raises `Stopped` where that was asked for."""
        state: dict[str, Any] = {**self.search.state_dict(), "learned": self.learned}
        if self.trainings:
            state["evaluator"] = self.trainings.state_dict()
        self.run.checkpoint(self.recorded, state)
        if self.run.stop_reason:
            raise stopped(self.recorded, self.run)


def stopped(num_networks: int, run: Run) -> Stopped:
    """What a stage raises that was asked to stop."""
    return Stopped(Problem("", f"stopped after {num_networks} networks: {run.stop_reason}."))


def json_of(found: Found) -> dict[str, Any]:
    """For files."""
    return {
        "architecture": list(found.architecture),
        "quality": _finite(found.quality),
        "costs": dict(found.costs),
        "num_judged": found.num_judged,
    }


def _finite(quality: float) -> float | None:
    """None for what could not be judged: JSON has no NaN."""
    return quality if math.isfinite(quality) else None
