"""The fine-tuning family: a strategy says which parameters move, how rows become batches, and the loss.

    prepare_model(model, config) -> model
    prepare_dataset(dataset, tokenizer, config) -> dataset            once a split
    create_trainer(model, train, eval, tokenizer, config, callbacks) -> trainer
    trainer.train()

Each hook has a default, so most strategies override the data part and the loss. The hooks are ModelForge's, and they
also work by hand, outside any run, with a plain dict and a `datasets.Dataset`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from regimen.choices import PluginOf
from regimen.errors import Problem, Refused
from regimen.finetune.config import Config
from regimen.finetune.models import Quantization
from regimen.finetune.texttask import LanguageTask
from regimen.finetune.tokens.outcome import LossOn, Overlength
from regimen.handle import Run
from regimen.optim import Optimizer, OptimizerSettings, Schedule
from regimen.settings import PluginSettings
from regimen.spec import Choice, RunSettings
from regimen.strategy import Finding, Loss, Strategy
from regimen.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from regimen.finetune.losses.head import Way
    from regimen.finetune.preparing import Looked
    from regimen.finetune.session import Session
    from regimen.finetune.tuning import Tuning


class TrainingStrategy(Strategy):
    """The base of fine-tuning strategies. Its settings are those that every objective has."""

    family = "finetune"
    layouts: ClassVar[tuple[str, ...]] = (
        "messages",
        "sharegpt",
        "prompt_completion",
        "input_output",
        "instruction",
        "text",
    )
    """Row layouts that the default `prepare_dataset` turns into tokens for this strategy."""

    likelihood: ClassVar[bool] = True
    """Whether the loss is the negative log-likelihood of a token, so that its exponential is a perplexity."""

    tuning: Annotated[Choice, PluginOf("tuning"), Field(description="which parameters move")] = Choice(name="lora")
    quantize: Annotated[
        Quantization | None, Field(description="store the frozen base in 4 or 8 bits; needs adapters")
    ] = None
    optimizer: Annotated[Optimizer, Field(description="what turns gradients into updates")] = OptimizerSettings(lr=2e-4)
    schedule: Annotated[Schedule, Field(description="how the learning rate moves over the budget")] = Schedule()
    batch_size: Annotated[int, Field(ge=1, description="rows a micro-batch, over all processes")] = 8
    eval_batch_size: Annotated[
        int | None, Field(ge=1, description="rows a batch in evaluation; unset: twice batch_size")
    ] = None
    accumulate: Annotated[
        int, Field(ge=1, description="micro-batches a step; the loss is the mean over all their tokens")
    ] = 1
    clip_norm: Annotated[float | None, Field(gt=0, description="largest norm of the gradient; null: not clipped")] = 1.0
    max_length: Annotated[int | None, Field(ge=8, description="tokens of a row; unset: what the model can take")] = None
    overlength: Annotated[
        Overlength, Field(description="what becomes of a longer row; counted and reported in any case")
    ] = "drop"
    loss_on: Annotated[LossOn, Field(description="trained tokens: the assistant's, the completion, or all")] = (
        "assistant"
    )
    group_by_length: Annotated[
        bool, Field(description="rows of similar length in one batch, so that little is padding")
    ] = True
    packing: Annotated[bool, Field(description="several rows in one, up to max_length, attention kept within each")] = (
        False
    )
    gradient_checkpointing: Annotated[
        bool, Field(description="compute activations again in the backward pass: a fifth slower, far less memory")
    ] = False

    # ------------------------------------------------------------------ the hooks

    def get_required_dataset_fields(self) -> list[str]:
        """Columns that `prepare_dataset` needs; empty where the default finds the layout itself."""
        return []

    def prepare_model(self, model: nn.Module, config: Mapping[str, Any]) -> nn.Module:
        """The model with just the parameters to train requiring gradients."""
        from regimen.finetune.preparing import tuned_model

        return tuned_model(self.configured(config), model)

    def prepare_dataset(self, dataset: Any, tokenizer: Any, config: Mapping[str, Any]) -> Any:
        """Rows as tokens: `input_ids` and `labels` (-100 where not trained), or what `collate` of the strategy takes.

        `dataset` is a `datasets.Dataset` with the user's columns. A list of datasets as result is trained in turn.
        """
        from regimen.finetune.preparing import tokenized_by_hand

        return tokenized_by_hand(self.configured(config), dataset, tokenizer).dataset

    def create_trainer(
        self,
        model: nn.Module,
        train_dataset: Any,
        eval_dataset: Any,
        tokenizer: Any,
        config: Mapping[str, Any],
        callbacks: Sequence[Any] | None = None,
    ) -> Any:
        """Something with `train()`: Regimen's own trainer. A model instead means that it is trained already."""
        from regimen.finetune.assemble import make_trainer

        return make_trainer(
            self.configured(config), model, train_dataset, eval_dataset, tokenizer, config, callbacks or ()
        )

    def compute_loss(self, model: nn.Module, batch: Any) -> Loss | Tensor:
        """The loss of a batch: a sum with its count, or a scalar, which is taken as the mean over the batch's rows."""
        from regimen.finetune.losses.supervised import sft_loss

        return sft_loss(model, batch, self._way)

    def compute_metrics(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """More numbers about generated answers, recorded as `valid/<name>`."""
        return {}

    # ------------------------------------------------------------------ how rows become batches

    def lengths(self, rows: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Tokens of each row, to group rows by; `rows` are `TokenRows`."""
        return np.asarray(rows.lengths("input_ids"))

    def collate(self, rows: Sequence[Mapping[str, Any]], pad_id: int) -> Any:
        """The batch of some rows: what `compute_loss` gets."""
        from regimen.finetune.batches.collate import collate, collate_packed

        return collate_packed([rows], pad_id) if self._in_one else collate(rows, pad_id, fold=self._folds)

    def before_training(self, model: nn.Module, train: Any, valid: Any, pad_id: int) -> None:
        """A look at the prepared model and tokens before the first step; here a strategy computes references once."""
        from regimen.finetune.losses.head import WRITTEN_OUT
        from regimen.finetune.losses.probes import keeps_packed_apart, logits_way

        self._way = logits_way(self, model, train, pad_id)
        wanted = self.group_by_length or self.packing or self._way is WRITTEN_OUT
        apart = wanted and keeps_packed_apart(self, model, train, pad_id, self._way)
        # A loss of somebody's own may take a row of the batch for a row of the data.
        self._folds = apart and type(self).compute_loss is TrainingStrategy.compute_loss
        self._in_one = self._folds and self._way is WRITTEN_OUT
        if self.packing and not apart:
            fix = "Set strategy.packing: false."
            raise Refused(Problem("strategy.packing", "this model's attention does not keep packed rows apart.", fix))

    @functools.cached_property
    def _way(self) -> Way:
        from regimen.finetune.losses.head import PICKED

        return PICKED

    _folds = False
    _in_one = False

    # ------------------------------------------------------------------ the contract

    def why_not(self, task: Task) -> str | None:
        if not isinstance(task, LanguageTask):
            return f"it trains language models; the task {task.name!r} is none."
        return self.tuning_method().why_not(task.model_config)

    def preflight(self, task: Task, settings: RunSettings) -> list[Finding]:
        from regimen.finetune.preflight import findings

        assert isinstance(task, LanguageTask)
        return findings(self, task, settings)

    def train(self, task: Task, run: Run) -> dict[str, float]:
        from regimen.finetune.quiet import quiet_libraries
        from regimen.finetune.session import train

        assert isinstance(task, LanguageTask)
        with quiet_libraries():
            return train(self, task, run)

    # ------------------------------------------------------------------ for the family's own parts

    _session: Session | None = None
    _looked: Looked | None = None

    @property
    def session(self) -> Session | None:
        """The run it works in, with its task; None when its hooks are used by hand."""
        return self._session

    @property
    def looked(self) -> Looked:
        """What a look at the data has made already: for preflight, and then for training."""
        if self._looked is None:
            from regimen.finetune.preparing import Looked

            self._looked = Looked()
        return self._looked

    @property
    def prepares_itself(self) -> bool:
        """Whether the class brings a `prepare_dataset` of its own."""
        return type(self).prepare_dataset is not TrainingStrategy.prepare_dataset

    @property
    def collates_rows(self) -> bool:
        """Whether its batches are made of single rows in the usual way, so that they can be packed."""
        return type(self).collate is TrainingStrategy.collate

    @property
    def trains_itself(self) -> bool:
        """Whether the class brings a `create_trainer` of its own."""
        return type(self).create_trainer is not TrainingStrategy.create_trainer

    def enter(self, session: Session) -> None:
        """Called once a run, before any hook."""
        self._session = session

    def tuning_method(self) -> Tuning:
        """The tuning plug-in with its settings."""
        tuning = self.tuning
        if not isinstance(tuning, PluginSettings):  # used by hand: a name with its settings, not checked yet
            tuning = PluginOf("tuning").check(tuning)
        made: Tuning = type(tuning).plugin.make(tuning)
        return made

    def configured(self, config: Mapping[str, Any]) -> TrainingStrategy:
        """Itself; for a plain dict of published names, a copy with those settings."""
        if isinstance(config, Config):
            return self
        from regimen.finetune.preparing import with_published

        return with_published(self, config)
