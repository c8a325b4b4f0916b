"""What DeepOBS gives a loop of one's own and keeps of what it returns, in either framework."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regimen.benchmark.files.export import EXTRAS
from regimen.benchmark.output import METRICS, MINIBATCH
from regimen.benchmark.runner import Runner
from regimen.handle import Run
from regimen.records.writer import replace_file

if TYPE_CHECKING:
    from regimen.benchmark.testproblem import TestProblem


class OwnLoops(Runner):
    """To be a base of a facade's runner, before the others."""

    _logging: dict[str, Any]
    """DeepOBS' logging arguments as they were given to `run`."""

    def logging_params(self, run: Run) -> dict[str, Any]:
        return super().logging_params(run) | self._logging

    def _settled(self, output: Any, testproblem: TestProblem, num_epochs: int) -> dict[str, float]:
        """Keeps what a loop of one's own returned besides the six curves, for the export."""
        if self.resume == "restart" and isinstance(output, Mapping):
            extras = {str(name): value for name, value in output.items() if name not in METRICS}
            if MINIBATCH in extras:
                extras[MINIBATCH] = _finite(extras[MINIBATCH])
            kept = {name: value for name, value in extras.items() if _is_json(value)}
            for name in extras.keys() - kept.keys():
                testproblem.run.note(f"{type(self).__name__}.training returned {name!r}, which JSON cannot hold.")
            replace_file(testproblem.run.artifacts / EXTRAS, json.dumps(kept).encode())
        return super()._settled(output, testproblem, num_epochs)


def _finite(losses: Any) -> list[float]:
    """The losses up to the first that is not finite."""
    numbers = [float(loss) for loss in losses]
    return numbers[: next((place for place, loss in enumerate(numbers) if not math.isfinite(loss)), len(numbers))]


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
