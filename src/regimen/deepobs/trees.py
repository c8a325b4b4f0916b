"""The runs of a study in DeepOBS' tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from regimen.benchmark.files import names
from regimen.benchmark.files.export import began, output_of
from regimen.deepobs.arguments import Arguments
from regimen.deepobs.runner import Runner
from regimen.deepobs.running import setting_folder
from regimen.execute import Prepared
from regimen.records.reader import load
from regimen.study.triallog import read_log

_PATH = "strategy.optimizer."


def export_trials(runner: Runner, args: Arguments, prepared: Prepared, study: Path) -> None:
    """Writes each run of a study that was evaluated, at the place where `run` of `runner` would; none twice."""
    for trial in read_log(study)[1]:
        if trial.status not in ("completed", "diverged") or not trial.curve:
            continue
        record = load(study / trial.folder)
        tuned = {path.removeprefix(_PATH): value for path, value in trial.setting.items()}
        told = {**args.standard, "random_seed": trial.place.seed}
        folder = setting_folder(
            runner, replace(args, standard=told, hyperparams={**args.hyperparams, **tuned}), prepared
        )
        name = f"{names.seed_start(trial.place.seed)}{names.stamp(began(record))}"
        if not (folder / f"{name}.json").exists():
            body = replace(output_of(record), optimizer_name=runner._optimizer_name).to_json()
            runner.write_output(body, folder, name)
