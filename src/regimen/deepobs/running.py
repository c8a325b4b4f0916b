"""Has a described run trained and recorded, and exports its record into DeepOBS' tree."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regimen.benchmark.files import names
from regimen.benchmark.files.export import began, optimizer_label, output_of
from regimen.benchmark.files.reading import read_output
from regimen.deepobs.arguments import Arguments
from regimen.deepobs.description import description, live
from regimen.deepobs.listeners import LossLines, TensorBoard
from regimen.errors import Diverged, RecordError, RegimenError, StrategyFailed
from regimen.execute import Prepared, prepare
from regimen.execute import run as execute
from regimen.identity import content_hash, run_folder
from regimen.progress import Progress
from regimen.records.reader import Record
from regimen.records.writer import Listener

if TYPE_CHECKING:
    from regimen.deepobs.runner import Runner

_STORED = ("completed", "diverged")
"""Runs that would end the same way again."""


def trained(runner: Runner, args: Arguments, record_dir: Path, *, skip: bool, show: bool) -> dict[str, Any]:
    """Trains, exports, and returns the output dictionary; `skip` returns a stored one of a run that computes the same.

    `show` draws the progress.
    """
    told = args.standard
    with ExitStack() as stack:
        stack.enter_context(live(runner))
        if told["no_logs"]:
            record_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="regimen-")))
        described = description(runner, args, record_dir)
        prepared = prepare(described)
        folder = setting_folder(runner, args, prepared)
        stored = stored_outputs(folder, prepared) if skip else []
        if stored:
            body: dict[str, Any] = json.loads(stored[-1].read_bytes())
            return body
        listeners: list[Listener] = []
        if show:
            listeners.append(stack.enter_context(Progress()))
        elif told["print_train_iter"]:
            listeners.append(LossLines())
        if told["tb_log"]:
            listeners.append(stack.enter_context(TensorBoard(Path(told["tb_log_dir"] or folder))))
        vars(runner).pop("diverged_at", None)
        runner._logging = {name: told[name] for name in ("print_train_iter", "tb_log", "tb_log_dir")}
        record = _executed(described, prepared, listeners)
        body = replace(output_of(record), optimizer_name=runner._optimizer_name).to_json()
        if not told["no_logs"]:
            name = f"{names.seed_start(told['random_seed'])}{names.stamp(began(record))}"
            runner.write_output(body, folder, name)
        return body


def setting_folder(runner: Runner, args: Arguments, prepared: Prepared) -> Path:
    """The folder of the setting in DeepOBS' tree, named by the runner's hooks."""
    told, task = args.standard, prepared.task
    runner._optimizer_name = told["optimizer_name"] or optimizer_label(
        runner._optimizer_class.__name__, args.hyperparams
    )
    directory, _ = runner.generate_output_directory_name(
        task.name,
        task.batch_size,  # type: ignore[attr-defined]  # every test problem has one
        _whole(prepared.spec.budget.epochs or 0),
        told["weight_decay"],
        told["random_seed"],
        told["output_dir"],
        args.hyperparams,
        **args.training_params,
    )
    return Path(directory)


def stored_outputs(folder: Path, prepared: Prepared) -> list[Path]:
    """The files in a setting's folder of runs that compute what `prepared` would, oldest first.

    They are told by the hash of settings, seed, data and code: a name says less than that.
    """
    identity = prepared.identity
    content = content_hash(prepared.spec.model_dump(mode="json"), identity["data"], identity["code"])
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith(names.seed_start(prepared.spec.seed)) and path.suffix == ".json":
            with suppress(RecordError):  # not a run of ours that ended; it will be run
                output = read_output(path)
                if output.more.get("content") == content and output.status in _STORED:
                    found.append(path)
    return sorted(found, key=lambda path: names.file_time(path.name))


@contextmanager
def as_script(active: bool) -> Iterator[None]:
    """Ends a script with a message and an exit code where arguments or files are wrong; a mistake in a runner's own
    code keeps its traceback.
    """
    try:
        yield
    except StrategyFailed:
        raise
    except RegimenError as error:
        if not active:
            raise
        sys.stderr.write(f"{error}\n")
        raise SystemExit(error.exit_code) from error


def _executed(described: dict[str, Any], prepared: Prepared, listeners: list[Listener]) -> Record:
    """The record of the run. One that diverged is told by a warning and by its status."""
    above = run_folder(prepared.spec).parent
    before = set(above.iterdir()) if above.is_dir() else set[Path]()
    try:
        return execute(described, listeners=listeners)
    except Diverged as error:
        warnings.warn(str(error), RuntimeWarning, stacklevel=5)
        new = [Record(path) for path in sorted(above.iterdir()) if path not in before]
        return [record for record in new if record.state.get("pid") == os.getpid()][-1]


def _whole(epochs: float) -> float:
    return int(epochs) if epochs % 1 == 0 else epochs
