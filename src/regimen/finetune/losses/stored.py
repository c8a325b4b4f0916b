"""The reference's log-probabilities, computed once and stored as two more columns of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from regimen.finetune.batches.order import Indices, sorted_batches
from regimen.finetune.batches.pairs import PairBatch, Reference
from regimen.finetune.losses.head import Way
from regimen.finetune.losses.reference import reference_logprobs
from regimen.finetune.tokens.tokenrows import TokenRows

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy

CHOSEN, REJECTED = "reference_chosen", "reference_rejected"


def store_references(strategy: TrainingStrategy, model: nn.Module, rows: TokenRows, pad_id: int, way: Way) -> None:
    """Asks `model` for both answers of every pair. With several processes each asks for its share."""

    def made(indices: Indices) -> PairBatch:
        batch: PairBatch = strategy.collate([rows[int(index)] for index in indices], pad_id)
        return batch

    processes = strategy.session.processes if strategy.session else None
    batches = sorted_batches(strategy.lengths(rows), strategy.eval_batch_size or 2 * strategy.batch_size)
    mine = batches[processes.rank :: processes.world] if processes else batches
    with strategy.session.autocast() if strategy.session else nullcontext():  # as the policy will be computed
        table = reference_logprobs(model, mine, made, len(rows), way)
    asked = np.zeros(len(rows), dtype=bool)
    asked[np.concatenate([*mine, np.zeros(0, dtype=np.int64)])] = True
    for name, values in ((CHOSEN, table.chosen_R), (REJECTED, table.rejected_R)):
        whole = torch.from_numpy(np.where(asked, values, np.float32(0)))
        if processes:
            processes.add([whole])
        rows.add_column(name, whole.numpy())


def stored_reference(rows: Sequence[Mapping[str, Any]]) -> Reference | None:
    """What was stored with these rows, if it was."""
    if not rows or CHOSEN not in rows[0]:
        return None
    return Reference(*(torch.tensor([row[name] for row in rows], dtype=torch.float32) for name in (CHOSEN, REJECTED)))
