"""What DeepOBS' tuners share: a tuning is a study of `regimen tune`, whose runs are exported into DeepOBS' tree.

The study's log and its runs are in `studies/<problem>/<Optimizer>_<search>`; it goes on where it was interrupted.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from regimen.benchmark.problem import Problem as TestProblemTask
from regimen.benchmark.testproblem import TestProblem
from regimen.deepobs import runners
from regimen.deepobs.arguments import arguments
from regimen.deepobs.commandline import STANDARD, Specification
from regimen.deepobs.description import description, live
from regimen.deepobs.jobs import flags, write_jobs
from regimen.deepobs.runner import Runner
from regimen.deepobs.trees import export_trials
from regimen.errors import Problem, SpecError
from regimen.execute import Prepared, prepare
from regimen.handle import Run
from regimen.study.report import StudyReport
from regimen.study.tuning import tune

Setting = dict[str, Any]
_FRESH = range(43, 52)
"""DeepOBS' seeds of a rerun."""
_PATH = "strategy.optimizer."


class Tuner(ABC):
    """What all tuners share. `ressources` is how many settings are tried, `runner` a runner class or its name."""

    search_name = ""

    def __init__(
        self,
        optimizer_class: type,
        hyperparam_names: Mapping[str, Specification],
        ressources: int,
        runner: type[Runner] | str = "StandardRunner",
    ) -> None:
        self._optimizer_class, self._hyperparam_names = optimizer_class, dict(hyperparam_names)
        self._optimizer_name, self._ressources = optimizer_class.__name__, ressources
        self._runner: type[Runner] = getattr(runners, runner) if isinstance(runner, str) else runner

    @abstractmethod
    def tune(self, testproblem: str, output_dir: str | Path = "./results", random_seed: int = 42, **given: Any) -> Any:
        """Tunes on one test problem."""

    def tune_on_testset(self, testset: str | Iterable[str], *args: Any, **given: Any) -> list[Any]:
        """Tunes on each problem of a set, with its own epochs, batch size and penalty."""
        _refuse_common(given)
        return [self.tune(testproblem, *args, **given) for testproblem in _names(testset)]

    def _study(
        self,
        testproblem: str,
        output_dir: str | Path,
        random_seed: int,
        method: dict[str, Any],
        space: Mapping[str, Any],
        tuned: Setting,
        given: dict[str, Any],
    ) -> StudyReport:
        """Does the study and exports its runs. `tuned` holds some value of each tuned hyperparameter."""
        rerun, at = given.pop("rerun_best_setting", False), given.pop("mode", "final")
        processes, folder = given.pop("processes", None), Path(given.pop("study_dir", "studies"))
        told = {name: given.pop(name) for name in STANDARD if name in given}
        told |= {"testproblem": testproblem, "random_seed": random_seed, "output_dir": output_dir}
        runner = self._runner(self._optimizer_class, self._hyperparam_names)
        args = arguments(runner, {**told, "hyperparams": tuned, "training_params": given}, None)
        with live(runner):
            body = description(runner, args, folder)
            prepared = prepare(body)
            metric = _metric(prepared)
            _check_found_elsewhere(body, runner)
        del body["seed"]
        for name in tuned:
            del body["strategy"]["optimizer"][name]
        body["tune"] = {
            "method": method,
            "space": {_PATH + name: values for name, values in space.items()},
            "metric": metric,
            "mode": "max" if metric.endswith("accuracy") else "min",
            "at": at,
            "seeds": [random_seed],
            "rerun_seeds": [seed for seed in _FRESH if seed != random_seed] if rerun else [],
            "processes": processes,
        }
        label = f"{self._optimizer_name}_{self.search_name}"
        report = tune(body | {"output": str(folder / testproblem / label)}, say=print)
        export_trials(runner, args, prepared, report.folder)
        return report


class ParallelizedTuner(Tuner):
    """A tuner whose settings are known from the start."""

    @abstractmethod
    def _sample(self) -> list[Setting]:
        """The settings to try."""

    def tune(
        self, testproblem: str, output_dir: str | Path = "./results", random_seed: int = 42, **given: Any
    ) -> StudyReport:
        """Tunes on one test problem, settings side by side, and returns the study's report.

        Besides what `Runner.run` takes: `rerun_best_setting` trains the best one with the seeds 43 to 51 again, `mode`
        (final or best) says by which epoch it is chosen, `processes` how many runs go on at a time, `study_dir` where
        the study lies. Raises what `regimen.study.tuning.tune` raises.
        """
        samples = self._drawn(random_seed)
        paths = [{_PATH + name: value for name, value in sample.items()} for sample in samples]
        method = {"name": "listed", "settings": paths}
        return self._study(testproblem, output_dir, random_seed, method, {}, samples[0], given)

    def generate_commands_script(
        self,
        testproblem: str,
        run_script: str | Path,
        output_dir: str | Path = "./results",
        random_seed: int = 42,
        generation_dir: str | Path = "./command_scripts",
        **given: Any,
    ) -> str:
        """Writes a command for each setting to `jobs_<Optimizer>_<search>_<problem>.txt`; returns the file's path.

        `run_script` is a script of yours that calls `run()` of this tuner's runner.
        """
        path = Path(generation_dir, f"jobs_{self._optimizer_name}_{self.search_name}_{testproblem}.txt")
        common = {"random_seed": random_seed, "output_dir": str(output_dir), **given}
        more = self._generate_kwargs_format_for_command_line(**common)
        lines = [
            f"python3 {run_script} {testproblem} {self._generate_hyperparams_format_for_command_line(sample)} {more}"
            for sample in self._drawn(random_seed)
        ]
        return write_jobs(path, lines)

    def generate_commands_script_for_testset(self, testset: str | Iterable[str], *args: Any, **given: Any) -> list[str]:
        """The same for each problem of a set."""
        _refuse_common(given)
        return [self.generate_commands_script(testproblem, *args, **given) for testproblem in _names(testset)]

    @staticmethod
    def _generate_hyperparams_format_for_command_line(hyperparams: Mapping[str, Any]) -> str:
        """A setting as flags, quoted for a shell."""
        return flags(hyperparams, are_hyperparams=True)

    @staticmethod
    def _generate_kwargs_format_for_command_line(**given: Any) -> str:
        """Everything else as flags."""
        return flags(given)

    def _drawn(self, random_seed: int) -> list[Setting]:
        """The settings, as plain numbers; drawn from NumPy's global generator, which is left as it was."""
        state = np.random.get_state()
        np.random.seed(random_seed)
        try:
            samples = self._sample()
        finally:
            np.random.set_state(state)
        return [{name: _plain(value) for name, value in sample.items()} for sample in samples]


def _metric(prepared: Prepared) -> str:
    """Accuracy where the problem has one, as DeepOBS chooses."""
    assert isinstance(prepared.task, TestProblemTask)
    live_one = TestProblem(prepared.task, Run.unrecorded(Path(os.devnull), prepared.spec))
    live_one.set_up()
    return "valid/accuracy" if live_one.has_accuracy else "valid/loss"


def _check_found_elsewhere(body: Mapping[str, Any], runner: Runner) -> None:
    """Raises `SpecError` for a class that exists in this process alone."""
    names = {"runner": body["strategy"]["name"], "optimizer": body["strategy"]["optimizer"]["name"]}
    by_hand = names["runner"] == type(runner).__name__ and not type(runner).is_facade_of
    if by_hand or names["optimizer"].startswith("__main__:"):
        which = type(runner).__name__ if by_hand else names["optimizer"].partition(":")[2]
        text = "exists in this process alone, and runs are made in others."
        fix = 'Put it into a file of its own, or the call below `if __name__ == "__main__":`.'
        raise SpecError(Problem(which, text, fix))


def _names(testset: str | Iterable[str]) -> list[str]:
    return testset.split() if isinstance(testset, str) else sorted(testset)


def _refuse_common(given: Mapping[str, Any]) -> None:
    """What would be one number for problems that differ."""
    for name in ("num_epochs", "batch_size", "weight_decay"):
        if given.get(name) is not None:
            text = "is each problem's own when a set is tuned."
            raise SpecError(Problem(name, text, "Leave it out, or tune the problems one by one."))


def _plain(value: Any) -> Any:
    """A NumPy number as Python's own."""
    return value.item() if isinstance(value, np.generic) or getattr(value, "shape", None) == (1,) else value
