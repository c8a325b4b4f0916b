"""Whether several runs of a test problem should be trained as one: asked of their settings, then measured.

    reason = why_not_batched(problem, specs)              # settings, and what the problem does in a step
    found = calibrate(problem, candidates)                # three steps each way
    found.together                                        # the places of those to train with `train_together`

A vmapped step pays on a CPU for small dense nets and loses for convolutions; so it is never assumed.
"""

from __future__ import annotations

import inspect
import math
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from regimen.benchmark.probe import probed
from regimen.benchmark.problem import Problem
from regimen.benchmark.replicas import Replica, train_together
from regimen.benchmark.runner import Runner
from regimen.benchmark.testproblem import TestProblem
from regimen.choices import CheckedSpec
from regimen.errors import Diverged
from regimen.handle import Run
from regimen.optim import optimizer_class
from regimen.processes import Processes, num_launched
from regimen.spec import Budget, changed_settings

RUNNERS = ("standard", "lr_schedule")
"""Those whose loop is the one trainer and nothing else."""
MARGIN = 1.2
"""A step together must be so many times faster than one after the other."""
TOLERANCE = 1e-5
"""Largest difference of a weight after the steps, relative to the largest weight of its tensor."""
STEPS = 3
LEAST_STEPS = 200
"""A shorter run costs less than to find out."""
_MAY_DIFFER = ("seed", "output", "threads", "strategy.")


class Candidate(NamedTuple):
    """A run that might be trained with others."""

    spec: CheckedSpec
    runner: Runner


class Calibration(NamedTuple):
    """What came of the steps that were made both ways."""

    together: tuple[int, ...]
    """Places of the candidates to train together; none, or two and more."""
    why_not: Mapping[int, str]
    """For each of the others, why it is trained by itself."""
    together_s: float
    alone_s: float
    """For three steps of all candidates, one after the other."""
    difference: float
    """The largest among those that agree, relative."""

    def note(self, place: int) -> str:
        """A sentence for the record of a run."""
        count, times = len(self.together) + len(self.why_not), (1000 * self.together_s, 1000 * self.alone_s)
        took = "{} steps of {} runs took {:.3g} ms at once and {:.3g} ms one by one".format(STEPS, count, *times)
        if place in self.why_not:
            return f"trained by itself: {self.why_not[place]}" + (f" ({took})." if self.together_s else ".")
        others = f"{len(self.together) - 1} others" if len(self.together) > 2 else "another run"
        return f"trained at once with {others}: {took}, and weights agreed within {self.difference:.0e}."


def read_once(problem: Problem, spec: CheckedSpec) -> None:
    """Reads the problem's data, on the device where all of its runs will share them. Raises `DataError`."""
    with _folder() as folder:
        data = _live(problem, spec, folder).data
    problem.__dict__["read"] = lambda: data  # of this object alone


def replica_of(problem: Problem, candidate: Candidate, run: Run, *, evaluates: bool = True) -> Replica:
    """A replica with its net, its weights being those that its seed gives when it is trained by itself."""
    testproblem = TestProblem(problem, run, Processes.join(candidate.spec.device).device)
    testproblem.set_up()
    return Replica(candidate.runner, testproblem, evaluates=evaluates)


# ------------------------------------------------------------------------------------------------ asked


def why_not_batched(problem: Problem, specs: Sequence[CheckedSpec], *, least: int = LEAST_STEPS) -> str | None:
    """Why these runs cannot be trained as one, in a sentence without its end; None if they can be tried.

    Nor are runs of fewer than `least` steps. Where the settings allow it, reads the problem's data, once for all of its
    runs. Raises `DataError`.
    """
    reason = _why_not_these(specs)
    if reason:
        return reason
    read_once(problem, specs[0])
    with _folder() as folder:
        testproblem = _live(problem, specs[0], folder)
        if probed(testproblem).draws:
            return f"{problem.name} draws random numbers in a step (dropout, sampling), and all at once draw others"
    budget = specs[0].budget
    steps = min(budget.steps or math.inf, (budget.epochs or math.inf) * len(testproblem.batches))
    return f"{steps:g} steps are over before a calibration pays" if steps < least else None


def num_fitting(problem: Problem, spec: CheckedSpec) -> int:
    """How many replicas a quarter of the free memory holds, at least 1.

    For each: weights, gradients, two states of the optimizer and as much again on the way; and twice what a step keeps
    for its backward pass.
    """
    with _folder() as folder:
        kept = probed(_live(problem, spec, folder)).kept_bytes
    weights = 4 * problem.num_parameters
    return max(1, int(_free_bytes(Processes.join(spec.device).device) / 4 / (6 * weights + 2 * kept)))


def _why_not_these(specs: Sequence[CheckedSpec]) -> str | None:
    if len(specs) < 2:
        return "there is no other run of its kind"
    if num_launched() > 1:
        return f"{num_launched()} processes were started"
    first = specs[0].model_dump(mode="json")
    for spec in specs:
        name, origin = spec.strategy.name, spec.strategy.plugin.origin
        if name not in RUNNERS or origin != "built in":
            return f"{name} has a loop of its own"
        if spec.budget.seconds is not None:
            return "the budget is in seconds, which runs that are trained at once would share"
        if spec.precision not in ("auto", "fp32"):
            return f"precision is {spec.precision}"
        changed = changed_settings(first, spec.model_dump(mode="json"))
        odd = [path for path in changed if not path.startswith(_MAY_DIFFER)]
        if odd:
            return f"{odd[0]} differs"
        optimizer: str = spec.strategy.optimizer.name  # type: ignore[attr-defined]  # of the two runners
        closure = inspect.signature(optimizer_class(optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            return f"{optimizer} asks for the loss again while it steps"
    return None


def _live(problem: Problem, spec: CheckedSpec, folder: Path) -> TestProblem:
    testproblem = TestProblem(problem, Run.unrecorded(folder, spec), Processes.join(spec.device).device)
    testproblem.set_up()
    return testproblem


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    memory = Path("/proc/meminfo")
    if memory.exists():
        lines = dict(line.split(":", 1) for line in memory.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


# ------------------------------------------------------------------------------------------------ measured


def calibrate(problem: Problem, candidates: Sequence[Candidate], *, margin: float = MARGIN) -> Calibration:
    """Makes a few steps with throw-away nets, one after the other and together, and compares times and weights.

    Together are those whose weights agree, and none unless that is at least `margin` times faster.
    """
    clock, took = _clock(candidates[0].spec), dict[tuple[Way, int], float]()
    with _folder() as folder:

        def timed(train: Way, steps: int) -> tuple[list[Replica], Trained]:
            replicas = [_short(problem, candidate, steps, folder) for candidate in candidates]
            began = clock()
            outcomes = train(replicas)
            took[train, steps] = min(clock() - began, took.get((train, steps), math.inf))
            return replicas, outcomes

        # By turns, and the quickest of each: what lies beyond the first step, which pays for what both must do once.
        try:
            for _ in range(_ROUNDS):
                timed(_one_by_one, 1)
                timed(_at_once, 1)
                alone, ends_alone = timed(_one_by_one, 1 + STEPS)
                together, ends_together = timed(_at_once, 1 + STEPS)
        except _UNBATCHABLE as error:
            reason = f"its step cannot be vmapped: {_first_line(error)}"
            return Calibration((), dict.fromkeys(range(len(candidates)), reason), 0.0, 0.0, 0.0)
    together_s, alone_s = (max(took[way, 1 + STEPS] - took[way, 1], 1e-9) for way in (_at_once, _one_by_one))
    differences, why_not = dict[int, float](), dict[int, str]()
    for place in range(len(candidates)):
        why_not[place] = _why_unlike(ends_alone[place], ends_together[place])
        differences[place] = math.inf if why_not[place] else _difference(alone[place], together[place])
    return _decided(differences, why_not, together_s, alone_s, margin)


Trained = dict[int, "dict[str, float] | Exception"]
Way = Callable[[list[Replica]], Trained]
_ROUNDS = 3
_UNBATCHABLE = (RuntimeError, ValueError, TypeError, AttributeError, IndexError)
"""What vmap raises at data that decide which way to go, at operations that it has no rule for, and the like."""


def _decided(
    differences: Mapping[int, float], ends: Mapping[int, str], together_s: float, alone_s: float, margin: float
) -> Calibration:
    """`ends` says why a run does not end alike both ways; empty where it does."""
    agreeing = {place: found for place, found in differences.items() if found <= TOLERANCE}
    faster = alone_s / together_s
    if faster < margin or len(agreeing) < 2:
        agreeing = {}
    slow = f"at once is {faster:.2g} times as fast, and {margin:g} is asked for" if faster < margin else ""
    why_not = {
        place: ends[place]
        or (f"its weights differ by {found:.0e} at once, and {TOLERANCE:g} is allowed" if found > TOLERANCE else "")
        or slow
        or "no other run agreed"
        for place, found in differences.items()
        if place not in agreeing
    }
    return Calibration(tuple(agreeing), why_not, together_s, alone_s, max(agreeing.values(), default=0.0))


def _one_by_one(replicas: list[Replica]) -> Trained:
    outcomes: Trained = {}
    for place, replica in enumerate(replicas):
        try:
            outcomes[place] = replica.train()
        except Exception as error:  # noqa: BLE001 - compared, and met again when it is trained
            outcomes[place] = error
    return outcomes


def _at_once(replicas: list[Replica]) -> Trained:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of operations that vmap does one by one: that is slower, which is measured
        return dict(train_together(replicas))


def _short(problem: Problem, candidate: Candidate, steps: int, folder: Path) -> Replica:
    budget = Budget(steps=steps)
    checkpoint = candidate.spec.checkpoint.model_copy(update={"best": None, "patience": None})
    spec = candidate.spec.model_copy(update={"budget": budget, "checkpoint": checkpoint})
    return replica_of(problem, candidate._replace(spec=spec), Run.unrecorded(folder, spec), evaluates=False)


def _why_unlike(alone: dict[str, float] | Exception, together: dict[str, float] | Exception) -> str:
    """Why the two are no sign that both ways are one; empty if both trained, or diverged at the same step."""
    if isinstance(alone, Diverged) and isinstance(together, Diverged) and alone.step == together.step:
        return ""
    for way, outcome in (("alone", alone), ("at once", together)):
        if isinstance(outcome, Exception):
            return f"{way} it ends with {type(outcome).__name__}: {_first_line(outcome)}"
    return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _difference(alone: Replica, together: Replica) -> float:
    """The largest of any tensor, relative to the largest number in it."""
    pairs = zip(alone.model.state_dict().values(), together.model.state_dict().values(), strict=True)
    parts = [(float((a - b).abs().max()), float(a.abs().max())) for a, b in pairs if a.numel()]
    return max((gap / size if size else gap for gap, size in parts), default=0.0)


def _clock(spec: CheckedSpec) -> Callable[[], float]:
    """Seconds that other processes do not lengthen, where there is such a clock: on one CPU thread."""
    on_one = Processes.join(spec.device).device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if on_one else time.perf_counter


@contextmanager
def _folder() -> Iterator[Path]:
    """For runs that are thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
