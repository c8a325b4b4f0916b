"""Which evaluation was the best so far: for the kept checkpoint and for early stopping, in every loop."""

from __future__ import annotations

from dataclasses import dataclass, field

from regimen.errors import Problem, Refused, did_you_mean
from regimen.spec import CheckpointSettings


@dataclass
class BestSoFar:
    """The part of a loop's cursor that judges evaluations. A checkpoint holds it as it is."""

    latest: dict[str, float] = field(default_factory=dict)
    """The last value of every recorded number."""
    best: float | None = None
    best_step: int = -1
    best_metrics: dict[str, float] = field(default_factory=dict)
    without_better: int = 0
    """Evaluations since the best one."""

    def improved(self, step: int, settings: CheckpointSettings) -> bool:
        """Whether the evaluation of `step`, in `latest`, is the best so far; the untrained model (0) is not judged.

        Raises `Refused` for a `checkpoint.best` that was not evaluated.
        """
        if settings.best is None:
            return False
        if settings.best not in self.latest:
            text = f"is {settings.best!r}, which is not evaluated."
            raise Refused(Problem("checkpoint.best", text, did_you_mean(settings.best, self.latest)))
        if step == 0:
            return False
        value = self.latest[settings.best]
        better = self.best is None or (value < self.best if settings.mode == "min" else value > self.best)
        self.without_better = 0 if better else self.without_better + 1
        if better:
            self.best, self.best_step, self.best_metrics = value, step, dict(self.latest)
        return better

    def is_patience_spent(self, settings: CheckpointSettings) -> bool:
        """Whether to stop early."""
        return settings.patience is not None and self.without_better >= settings.patience
