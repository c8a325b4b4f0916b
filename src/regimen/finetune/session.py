"""One fine-tune inside a run, from the light task to what is left in the run's folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from regimen.finetune.config import Config
from regimen.finetune.data.lengthcolumn import with_length
from regimen.finetune.foreign.seeding import seed_everything
from regimen.finetune.preparing import tokenized
from regimen.finetune.texttask import LanguageTask
from regimen.handle import Run
from regimen.machine import machine_set
from regimen.processes import Processes
from regimen.published import to_published, to_settings
from regimen.settings import declares_settings
from regimen.spec import Budget, RunSettings, RunSpec
from regimen.trainer import DTYPES as HALF

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy


@dataclass
class Session:
    """What the hooks of a strategy stand in: the run, its processes, and the task where there is one."""

    run: Run
    processes: Processes
    precision: str = "fp32"
    task: LanguageTask | None = None
    reports: dict[str, Any] = field(default_factory=dict)
    """What became of the rows of each split."""

    @classmethod
    def by_hand(cls, strategy: TrainingStrategy, config: Mapping[str, Any]) -> Session:
        """For hooks that are used outside any run: nothing is recorded, the budget is what the plain dict says."""
        said = {key: value for key, value in to_settings(config).items() if key in RunSettings.model_fields}
        said.setdefault("budget", {"epochs": 1})
        folder = Path(config.get("output_dir") or tempfile.mkdtemp(prefix="regimen-"))
        run = Run.unrecorded(folder, RunSettings.model_validate(said))
        processes = Processes.join(run.settings.device)
        return cls(run, processes, precision(run.settings.precision, processes.device))

    def autocast(self) -> AbstractContextManager[Any]:
        """In which model and reference compute: half precision where the run has it."""
        dtype = HALF.get(self.precision)
        return torch.autocast(self.processes.device.type, dtype) if dtype else nullcontext()

    def name_row(self, row: int) -> str:
        """File and line of a training row."""
        return str(self.task.rows["train"].place(row)) if self.task else f"row {row}"


def precision(asked: str, device: torch.device) -> str:
    """What `auto` means on a device: bf16 on a GPU that has it, else fp32."""
    if asked != "auto":
        return asked
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def train(strategy: TrainingStrategy, task: LanguageTask, run: Run) -> dict[str, float]:
    """Prepares model and data, trains, and leaves what was made. Every hook is called once a run."""
    from regimen.finetune.answers.metrics import check_installed, wanted

    check_installed(wanted(task))
    processes = Processes.join(run.settings.device)
    session = Session(run, processes, precision(run.settings.precision, processes.device), task)
    with machine_set(run.settings, processes.device):
        return _trained(strategy, task, session)


def _trained(strategy: TrainingStrategy, task: LanguageTask, session: Session) -> dict[str, float]:
    from regimen.finetune.answers.samples import Samples
    from regimen.finetune.foreign.stages import one_dataset, stages_of
    from regimen.finetune.results.finish import finish

    run, processes = session.run, session.processes
    strategy.enter(session)
    config = config_of(strategy, run)
    seed_everything(run.seed_for("model"))
    model = task.load_model(processes.device, quantize=strategy.quantize)
    model = strategy.prepare_model(model, config)
    own_trained_weights(model)
    splits = {split: dataset(strategy, task, split, config) for split in task.rows}
    if processes.first:
        (run.artifacts / "data.json").write_text(
            json.dumps({"splits": session.reports, "overlap": strategy.looked.overlap}, indent=1, ensure_ascii=False)
        )
    stages = stages_of(splits["train"])
    splits = {split: one_dataset(strategy, made, task.tokenizer) for split, made in splits.items()}
    train_rows = splits["train"] if stages is None else stages
    samples = Samples(session, splits, task.tokenizer)
    samples.ask_before(model)
    if strategy.trains_itself:
        from regimen.finetune.foreign.train import train_foreign

        model, final = train_foreign(strategy, model, train_rows, splits.get("valid"), task.tokenizer, config, session)
    else:
        trainer = strategy.create_trainer(model, train_rows, splits.get("valid"), task.tokenizer, config, None)
        with without_cache(model):
            final = trainer.train()
    return finish(session, strategy, model, splits, samples, final)


def own_trained_weights(model: torch.nn.Module) -> None:
    """Gives what will be trained memory of its own.

    Weights come mapped from their file: the first step would copy each page, slowly, and a file that somebody shortens
    meanwhile would end the process. Weights that stay as they are remain mapped.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.device.type == "cpu":
            parameter.data = parameter.data.clone()


@contextmanager
def without_cache(model: torch.nn.Module) -> Iterator[None]:
    """While inside, `model(**batch)` keeps no key-value cache unless asked to.

    A cache is of no use in training, and with one transformers 5.23 does not keep packed rows apart: a loss of
    somebody's own would be wrong without a word.
    """
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "use_cache"):
        yield
        return
    before, config.use_cache = config.use_cache, False
    try:
        yield
    finally:
        config.use_cache = before


def dataset(strategy: TrainingStrategy, task: LanguageTask, split: str, config: Mapping[str, Any]) -> Any:
    """A split as the strategy's hook made it. The default hook gets our own rows, which know their file and line."""
    if strategy.prepares_itself:
        note = strategy.session.run.note if strategy.session else None
        seed_everything(strategy.session.run.seed_for("prepare", split) if strategy.session else 0)
        rows = with_length(task.dataset(split), strategy.prepare_dataset, note)
        return strategy.prepare_dataset(rows, task.tokenizer, config)
    prepared = tokenized(strategy, task, split)
    if strategy.session:
        strategy.session.reports[split] = prepared.report.to_json()
    return prepared.dataset


def config_of(strategy: TrainingStrategy, run: Run) -> Config:
    """`config` for the hooks of a strategy in a run."""
    from regimen.finetune.strategy import TrainingStrategy

    spec = run.settings
    assert isinstance(spec, RunSpec)
    everything = spec.model_dump(mode="json")
    if declares_settings(type(strategy), TrainingStrategy):
        return Config(to_published(everything) | {"output_dir": str(run.artifacts)})
    given = spec.model_dump(mode="json", exclude_unset=True)
    always = to_published({"task": everything["task"], "seed": everything["seed"]})
    return Config(
        {name: value for name, value in always.items() if name in ("model_name", "dataset", "seed")}
        | to_published(given)
        | {"output_dir": str(run.artifacts)}
    )


__all__ = ["Budget", "Session", "config_of", "dataset", "precision", "train"]
