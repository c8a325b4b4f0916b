"""Direct preference optimization (Rafailov et al., arXiv:2305.18290), with its hinge, IPO and robust relatives.

The prompt is encoded once for both answers, and the reference's log-probabilities are computed once, before the first
step, when the model still is the reference; a second model is loaded only if one is named.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from torch import nn

from regimen.errors import Problem, StrategyFailed
from regimen.finetune.batches.pairs import PairBatch, Reference
from regimen.finetune.losses.preference import DPOLoss, dpo_loss
from regimen.finetune.losses.stored import store_references
from regimen.finetune.models import ModelSource
from regimen.finetune.preferring import PreferenceStrategy
from regimen.optim import Optimizer, OptimizerSettings
from regimen.strategy import Loss


class DPO(PreferenceStrategy):
    """Direct preference optimization: raises the chosen answer over the rejected one, relative to a reference model."""

    name = "dpo"

    optimizer: Annotated[Optimizer, Field(description="what turns gradients into updates")] = OptimizerSettings(lr=5e-6)
    beta: Annotated[
        float, Field(gt=0, description="how close to stay to the reference; for ipo its regularization tau")
    ] = 0.1
    loss_type: Annotated[DPOLoss, Field(description="sigmoid is DPO; hinge, ipo and robust are its relatives")] = (
        "sigmoid"
    )
    label_smoothing: Annotated[
        float, Field(ge=0, lt=0.5, description="share of pairs believed swapped; read by robust alone")
    ] = 0.0
    reference: Annotated[
        str | None,
        Field(
            description="a reference model by name; unset: the model as it is before training, adapters switched off"
        ),
    ] = None

    def compute_loss(self, model: nn.Module, batch: Any) -> Loss:
        reference = batch.reference or self._reference_now(model, batch)
        return dpo_loss(
            self.answer_logprobs(model, batch),
            reference,
            beta=self.beta,
            loss_type=self.loss_type,
            label_smoothing=self.label_smoothing,
        )

    def before_training(self, model: nn.Module, train: Any, valid: Any, pad_id: int) -> None:
        """Besides, stores the reference's log-probabilities with every pair."""
        super().before_training(model, train, valid, pad_id)
        with self._as_reference(model) as other:
            for rows in (train, valid):
                if rows is not None:
                    store_references(self, other or model, rows, pad_id, self._way)

    def _as_reference(self, model: nn.Module) -> AbstractContextManager[Any]:
        """A context in which the reference can be asked: another model as its value, or the given one as it was."""
        if self.reference is not None:
            return nullcontext(ModelSource(self.reference).load(next(model.parameters()).device))
        if hasattr(model, "disable_adapter"):
            return cast("AbstractContextManager[Any]", cast(Any, model).disable_adapter())
        return nullcontext()

    def _reference_now(self, model: nn.Module, batch: PairBatch) -> Reference:
        # Rows that `before_training` has not seen: the loss is asked for by hand.
        if self.reference is None and not hasattr(model, "disable_adapter"):
            fix = "Call before_training first, name a `reference`, or train adapters."
            raise StrategyFailed(Problem("dpo.compute_loss", "has no reference for these rows.", fix))
        with torch.no_grad(), self._as_reference(model) as other:
            logprobs = self.answer_logprobs(other or model, batch)
        return Reference(logprobs.chosen_B, logprobs.rejected_B)
