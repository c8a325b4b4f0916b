"""DeepOBS' runner: its constructor, `run(...)`, hooks and command line, as a thin layer over a run's description.

    runner = StandardRunner(torch.optim.SGD, {"lr": {"type": float}, "momentum": {"type": float, "default": 0.99}})
    output = runner.run("quadratic_deep", {"lr": 0.01}, num_epochs=10)

`run` describes the run, has `regimen.execute` train and record it below `runs/`, and exports the record into DeepOBS'
tree. There is no second loop here and no second writer.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from regimen.benchmark import runner as strategy
from regimen.benchmark.files import names
from regimen.benchmark.files.writing import write_output
from regimen.deepobs.arguments import arguments
from regimen.deepobs.commandline import (
    STANDARD,
    Specification,
    add_hyperparameter,
    add_setting,
    hyperparameter_word,
    loading_as_plugin,
    script_arguments,
)
from regimen.deepobs.description import LIVE, description, is_live, live
from regimen.deepobs.running import as_script, setting_folder, stored_outputs, trained
from regimen.deepobs.trainingparams import declare_hooked, training_parameters
from regimen.errors import Problem, SpecError, StrategyFailed
from regimen.execute import prepare
from regimen.settings import PluginSettings, init_parameters

if TYPE_CHECKING:
    from regimen.benchmark.testproblem import TestProblem

_GIVEN = frozenset({*STANDARD, "hyperparams", "training_params"})


class Runner(strategy.Runner, ABC):
    """What the runners of both frameworks share. A subclass says how to train; see `PTRunner`.

    `hyperparameter_names` has an entry for each: {"lr": {"type": float}, "momentum": {"type": float, "default": 0.9}}.
    """

    name = ""
    is_facade_of: ClassVar[str] = ""
    """The built-in strategy that a class is under DeepOBS' name; not inherited."""

    def __init__(self, optimizer_class: type, hyperparameter_names: Mapping[str, Specification]) -> None:
        self._optimizer_class = optimizer_class
        self._optimizer_name = optimizer_class.__name__
        self._hyperparameter_names = dict(hyperparameter_names)
        self._logging: dict[str, Any] = {}

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if "training" in vars(cls) and "resume" not in vars(cls):
            cls.resume = "restart"  # a loop of its own, whatever the one was that it replaces
        if "is_facade_of" not in vars(cls):
            cls.is_facade_of = ""
        declare_hooked(cls)

    @classmethod
    def from_settings(cls, settings: PluginSettings) -> Self:
        """The runner of a run: the one whose `run` was called, or a new one for the optimizer that is named.

        Raises `StrategyFailed` for a constructor that wants more, or that is written for another optimizer.
        """
        if is_live(cls):
            return cast(Self, LIVE.get())
        optimizer = settings.optimizer  # type: ignore[attr-defined]  # a setting of every runner
        found = cls.find_optimizer(optimizer.name)
        specified = {key: {"type": type(value), "default": value} for key, value in optimizer.hyperparameters.items()}
        known: dict[str, Any] = {"optimizer_class": found, "hyperparameter_names": specified}
        wanted = init_parameters(cls)
        lacking = [p.name for p in wanted if p.default is p.empty and p.name not in known]
        if lacking:
            text = f"its constructor wants {', '.join(lacking)}, which no setting gives."
            raise StrategyFailed(Problem(cls.__name__, text, "Give them defaults."))
        made = cls(**{p.name: known[p.name] for p in wanted if p.name in known})
        if made._optimizer_class.__qualname__ != found.__qualname__:
            fix = f"Set strategy.optimizer.name to {cls.optimizer_setting(made._optimizer_class)}."
            text = f"is written for {made._optimizer_class.__name__}, and strategy.optimizer is {found.__name__}."
            raise StrategyFailed(Problem(cls.__name__, text, fix))
        return made

    # ------------------------------------------------------------------ what a framework says

    @staticmethod
    @abstractmethod
    def find_optimizer(name: str) -> type:
        """The optimizer class for a name in settings. Raises `SpecError`."""

    @staticmethod
    @abstractmethod
    def optimizer_setting(optimizer_class: type) -> str:
        """The name of an optimizer class in settings."""

    @abstractmethod
    def training(
        self, testproblem: TestProblem, hyperparams: dict[str, Any], num_epochs: int, **training_params: Any
    ) -> dict[str, Any]:
        """Trains, and returns the output dictionary: see `regimen.benchmark.Runner.training`."""

    @staticmethod
    @abstractmethod
    def create_testproblem(
        testproblem: str, batch_size: int | None, weight_decay: float | None, random_seed: int
    ) -> Any:
        """A test problem that is set up, for use by hand."""

    # ------------------------------------------------------------------ running

    def run(
        self,
        testproblem: str | None = None,
        hyperparams: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
        num_epochs: int | None = None,
        random_seed: int | None = None,
        data_dir: str | Path | None = None,
        output_dir: str | Path | None = None,
        weight_decay: float | None = None,
        no_logs: bool | None = None,
        train_log_interval: int | None = None,
        print_train_iter: bool | None = None,
        tb_log: bool | None = None,
        tb_log_dir: str | Path | None = None,
        skip_if_exists: bool = False,
        *,
        optimizer_name: str | None = None,
        parse_cli: bool | None = None,
        record_dir: str | Path = "runs",
        **training_params: Any,
    ) -> dict[str, Any]:
        """Trains a test problem and returns the output dictionary, which is in `output_dir` (./results) as JSON, too.

        What is None is read from the command line of a script, and has its default elsewhere: seed 42, the problem's
        own batch size, epochs and penalty. `parse_cli` says whether `sys.argv` is read; None: only where the caller is
        the script that was started. `skip_if_exists` returns the stored output of a run that computes the same.
        `no_logs` leaves no files. `record_dir` holds the records.

        A run that diverged returns what was measured before, with `status: diverged`. Raises `SpecError` that names the
        allowed hyperparameters or training parameters for an unknown one, and whatever `regimen.run` raises.
        """
        given = {name: value for name, value in locals().items() if name in _GIVEN}
        frame = inspect.currentframe()
        file = loading_as_plugin(frame)
        if file is not None:
            fix = 'Put the call below `if __name__ == "__main__":`.'
            raise SpecError(Problem(file, "calls run() while it is being loaded as a plug-in.", fix))
        argv = script_arguments(frame) if parse_cli is None else sys.argv[1:] if parse_cli else None
        with as_script(argv is not None):
            args = arguments(self, given, argv)
            return trained(self, args, Path(record_dir), skip=skip_if_exists, show=argv is not None)

    def run_exists(self, **given: Any) -> tuple[bool, list[str]]:
        """(whether the output of such a run is stored, the paths of its files). Takes what `run` takes, by name."""
        own = {name: given.pop(name) for name in _GIVEN if name in given}
        args = arguments(self, {**own, "training_params": given}, None)
        with live(self):
            prepared = prepare(description(self, args, Path("runs")))
        paths = stored_outputs(setting_folder(self, args, prepared), prepared)
        return bool(paths), [str(path) for path in paths]

    def parse_args(
        self,
        testproblem: str | None,
        hyperparams: Mapping[str, Any] | None,
        batch_size: int | None,
        num_epochs: int | None,
        random_seed: int | None,
        data_dir: str | None,
        output_dir: str | None,
        weight_decay: float | None,
        no_logs: bool | None,
        train_log_interval: int | None,
        print_train_iter: bool | None,
        tb_log: bool | None,
        tb_log_dir: str | None,
        training_params: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What `run` works with, read from `sys.argv` where it is None: one dictionary, hyperparameters in a dictionary
        of their own.
        """
        given = {name: value for name, value in locals().items() if name in _GIVEN}
        return arguments(self, given, sys.argv[1:]).flat()

    # ------------------------------------------------------------------ the four hooks

    def _add_hyperparams_to_argparse(
        self, parser: argparse.ArgumentParser, args: dict[str, Any], hyperparams: Mapping[str, Any] | None
    ) -> None:
        """Puts each hyperparameter into `args`, if it is in `hyperparams`, or adds its flag to the parser."""
        for name, specification in self._hyperparameter_names.items():
            if hyperparams is not None and name in hyperparams:
                args[hyperparameter_word(name)] = hyperparams[name]
            else:
                add_hyperparameter(parser, name, specification)

    def _add_training_params_to_argparse(
        self, parser: argparse.ArgumentParser, args: dict[str, Any], training_params: Mapping[str, Any]
    ) -> None:
        """Puts each training parameter into `args`, if it is in `training_params`, or adds its flag to the parser."""
        for name, field in training_parameters(type(self)).items():
            if name in training_params:
                args[name] = training_params[name]
            else:
                add_setting(parser, name, field)

    def _add_hyperparams_to_output_dir_name(
        self, optimizer_hyperparams: Mapping[str, Any], run_folder_name: str
    ) -> str:
        """The folder name with the hyperparameters added to it."""
        return names.with_hyperparams(run_folder_name, optimizer_hyperparams)

    def _add_training_params_to_output_dir_name(self, training_params: Mapping[str, Any], run_folder_name: str) -> str:
        """The folder name with the training parameters added to it; those that are None are left out."""
        return names.with_training_params(run_folder_name, training_params)

    # ------------------------------------------------------------------ where results lie

    def generate_output_directory_name(
        self,
        testproblem: str,
        batch_size: int,
        num_epochs: float,
        weight_decay: float | None,
        random_seed: int,
        output_dir: str | Path,
        optimizer_hyperparams: Mapping[str, Any],
        **training_params: Any,
    ) -> tuple[str, str]:
        """(folder, file name without its ending) of a run that ends now."""
        name = names.setting_start(num_epochs, batch_size, weight_decay)
        name = self._add_hyperparams_to_output_dir_name(optimizer_hyperparams, name)
        name = names.shortened(self._add_training_params_to_output_dir_name(training_params, name))
        folder = Path(output_dir, names.safe(testproblem), names.safe(self._optimizer_name), name)
        return str(folder), f"{self._filename_no_date(random_seed)}{names.stamp(datetime.now(UTC))}"

    @staticmethod
    def _filename_no_date(random_seed: int) -> str:
        return names.seed_start(random_seed)

    @staticmethod
    def write_output(output: Mapping[str, Any], run_folder_name: str | Path, file_name: str) -> None:
        """Writes an output dictionary as strict JSON; over no file that is there."""
        write_output(output, run_folder_name, file_name)

    def _abort_routine(self, epoch_count: int, num_epochs: int, *lists: list[float]) -> None:
        """For a loop that gives up because a loss is not finite: the run has diverged in the epoch after `epoch_count`.

        The lists stay as they are: no numbers are invented for the epochs that were not trained.
        """
        self.diverged_at = epoch_count + 1  # type: ignore[misc]  # of this run, which its object stands for
