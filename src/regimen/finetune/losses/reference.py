"""Log-probabilities under the reference, computed once for all pairs instead of at every step of every epoch.

R rows of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from regimen.finetune.batches.order import Indices
from regimen.finetune.batches.pairs import PairBatch, Reference
from regimen.finetune.losses.head import PICKED, Way
from regimen.finetune.losses.preference import sequence_logprobs


class ReferenceTable(NamedTuple):
    """Summed log-probabilities of both answers of every pair, in nats, shape (R,), float32; NaN for rows not asked."""

    chosen_R: NDArray[np.float32]
    rejected_R: NDArray[np.float32]

    def of(self, rows: Indices) -> Reference:
        """Those of one batch."""
        return Reference(torch.from_numpy(self.chosen_R[rows]), torch.from_numpy(self.rejected_R[rows]))


def reference_logprobs(
    model: nn.Module,
    batches: Iterable[Indices],
    collate: Callable[[Indices], PairBatch],
    num_rows: int,
    way: Way = PICKED,
) -> ReferenceTable:
    """Log-probabilities of both answers of all pairs in `batches`, in evaluation mode and without gradients.

    `model` is the reference itself: to use a model without its adapter, call this within peft's `disable_adapter()`.
    `collate` makes the batch of some rows. Order and size of the batches do not matter: `sorted_batches` pads least.
    """
    device = next(model.parameters()).device
    rows: list[Indices] = []
    chosen: list[torch.Tensor] = []
    rejected: list[torch.Tensor] = []
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for indices in batches:
                logprobs = sequence_logprobs(model, collate(indices).to(device), way)
                rows.append(indices)
                chosen.append(logprobs.chosen_B)
                rejected.append(logprobs.rejected_B)
    finally:
        model.train(was_training)
    return ReferenceTable(_table(rows, chosen, num_rows), _table(rows, rejected, num_rows))


def _table(rows: list[Indices], values: list[torch.Tensor], num_rows: int) -> NDArray[np.float32]:
    table_R = np.full(num_rows, np.nan, dtype=np.float32)
    if rows:
        table_R[np.concatenate(rows)] = torch.cat(values).float().cpu().numpy()
    return table_R
