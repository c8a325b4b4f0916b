"""Stages of one run: each is a run of its own for whoever trains in it; steps and checkpoints are in the one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from regimen.handle import Restored, Run
from regimen.spec import Budget, CheckpointSettings, EvaluateSettings, RunSettings

_NEVER = 10**9
"""Steps between two times, for what is not to happen."""


class Stages:
    """The stages of a run in order: what each left, and where the run was stopped.

    >>> stages = Stages(run)                                                             # doctest: +SKIP
    >>> if (found := stages.result("search")) is None:                                   # doctest: +SKIP
    ...     found = search(stages.run_of("search", budget)); stages.finish("search", found)  # doctest: +SKIP
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._restored = run.restore()
        state: Mapping[str, Any] = self._restored.state if self._restored else {}
        self._results: dict[str, Any] = dict(state.get("results", {}))
        self._steps = int(state.get("steps", 0))
        """Steps of the stages that have ended."""

    def result(self, name: str) -> Any:
        """What a stage left; None if it has not ended."""
        return self._results.get(name)

    def finish(self, name: str, result: Mapping[str, Any], steps: int) -> None:
        """Keeps what a stage left, in a checkpoint: it is not run again."""
        self._results[name] = dict(result)
        self._steps += steps
        self._restored = None
        self.run.checkpoint(self._steps, {"stage": "", "results": self._results, "steps": self._steps, "state": {}})

    def run_of(self, name: str, budget: Budget, *, prefix: str = "", settings: RunSettings | None = None) -> StageRun:
        """The run of a stage. Its metrics' keys get `prefix`: `retrain_` makes `retrain_train/loss` of `train/loss`."""
        given = (settings or self.run.settings).model_copy(update={"budget": budget})
        return StageRun(self, name, given, prefix)

    def restored(self, name: str) -> Restored | None:
        """The newest checkpoint of this stage, with the steps of the stage alone."""
        found = self._restored
        if found is None or found.state["stage"] != name:
            return None
        return Restored(found.step - self._steps, found.state["state"])

    def keep(self, name: str, step: int, state: Mapping[str, Any], *, best: bool) -> None:
        """Saves where a stage is."""
        whole = {"stage": name, "results": self._results, "steps": self._steps, "state": dict(state)}
        self.run.checkpoint(self._steps + step, whole, best=best)

    @property
    def steps(self) -> int:
        """Steps of the stages that have ended."""
        return self._steps


class StageRun(Run):
    """The handle that a stage gets: its own budget and seeds, the folder and the wishes to stop of the whole run."""

    def __init__(self, stages: Stages, name: str, settings: RunSettings, prefix: str) -> None:
        whole = stages.run
        super().__init__(
            settings=settings,
            folder=whole.folder,
            journal=whole._journal,
            checkpoints=whole._checkpoints,
        )
        self._stages, self._name, self._prefix = stages, name, prefix

    def log(self, step: int, values: Mapping[str, float]) -> None:
        named = {key if key.startswith("time/") else self._prefix + key: value for key, value in values.items()}
        self._stages.run.log(self._stages.steps + step, named)
        for callback in self._callbacks:
            callback(step, values)

    def note(self, text: str) -> None:
        self._stages.run.note(text)

    def seed_for(self, *parts: str | int) -> int:
        return self._stages.run.seed_for(self._name, *parts)

    def generator(self, name: str) -> np.random.Generator:
        return self._stages.run.generator(f"{self._name} {name}")

    @property
    def stop_reason(self) -> str | None:
        return self._stages.run.stop_reason

    def request_stop(self, reason: str) -> None:
        self._stages.run.request_stop(reason)

    def should_stop(self, step: int, *, epochs: float = 0.0, passes: int = 0, tokens: int = 0) -> bool:
        stop = super().should_stop(step, epochs=epochs, passes=passes, tokens=tokens)
        self._stages.run.spent = self.spent._replace(steps=self._stages.steps + step)
        return stop

    @property
    def elapsed_s(self) -> float:
        return self._stages.run.elapsed_s

    def checkpoint(self, step: int, state: Mapping[str, Any], *, best: bool = False) -> None:
        self._stages.keep(self._name, step, state, best=best)

    def restore(self) -> Restored | None:
        return self._stages.restored(self._name)

    def unrecorded_with(self, seed: int) -> Run:
        """A run with the budget and the wishes to stop of this one, that keeps nothing."""
        return _Unrecorded(self, seed)

    def best_checkpoint(self) -> Restored | None:
        found = self._stages.run.best_checkpoint()
        if found is None or found.state["stage"] != self._name:
            return None
        return Restored(found.step - self._stages.steps, found.state["state"])


class _Unrecorded(Run):
    """One of many small runs in a stage. It looks at its model at the beginning and the end alone."""

    def __init__(self, stage: StageRun, seed: int) -> None:
        rarely = {"evaluate": EvaluateSettings(every=_NEVER), "checkpoint": CheckpointSettings(every=_NEVER)}
        silent = Run.unrecorded(stage.folder)
        super().__init__(
            settings=stage.settings.model_copy(update=rarely),
            folder=stage.folder,
            journal=silent._journal,
            checkpoints=silent._checkpoints,
        )
        self.seed, self._stage = seed, stage

    @property
    def stop_reason(self) -> str | None:
        return self._stage.stop_reason
