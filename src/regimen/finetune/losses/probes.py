"""Asks this very model, before the first step, whether a shortcut gives its own numbers; if not, the plain way, and a
note.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from regimen.finetune.batches.collate import collate
from regimen.finetune.batches.order import Indices
from regimen.finetune.batches.pairs import collate_pairs
from regimen.finetune.losses.head import ALL, PICKED, WRITTEN_OUT, Way, is_written_out
from regimen.finetune.losses.shortcuts import check_answers_way, check_packing, check_shared_prompt, check_way
from regimen.finetune.tokens.tokenrows import TokenRows

if TYPE_CHECKING:
    from regimen.finetune.strategy import TrainingStrategy

ROUNDING = 1e-4
"""Relative difference that is rounding in float32; measured 1e-7 to 1e-6."""
ROUNDING_QUANTIZED = 5e-2
"""The same where layers multiply in half precision; measured up to 1e-2."""
_PROBED = 2
"""Rows of a probe; the longest ones where a sliding window would show."""


def logits_way(strategy: TrainingStrategy, model: nn.Module, rows: TokenRows, pad_id: int) -> Way:
    """The fastest way to the logits of trained tokens that gives this model's own; any rows show it, so the shortest
    are asked.
    """
    batch = collate([rows[int(index)] for index in _shortest(strategy, rows, _PROBED)], pad_id).to(_device(model))
    return _fastest(strategy, model, batch.inputs, lambda way: check_way(model, batch, way))


def keeps_packed_apart(strategy: TrainingStrategy, model: nn.Module, rows: TokenRows, pad_id: int, way: Way) -> bool:
    """Whether several rows may stand in one, each seen by this model's attention as if it were alone.

    Two such rows at once are asked for: under flash attention one alone would be right and several wrong.
    """
    probe = [rows[int(index)] for index in _shortest(strategy, rows, 2 * _PROBED)]
    if len(probe) < 2 * _PROBED:
        return False
    bins = [probe[:_PROBED], probe[_PROBED:]]
    difference = max(check_packing(model, bins, pad_id, one) for one in {PICKED, way})
    return _said(strategy, difference, model, "packed rows", "each row stands alone, padded")


def answers_way(strategy: TrainingStrategy, model: nn.Module, rows: TokenRows, pad_id: int) -> Way:
    """The same where rows are pairs of answers."""
    probe = [rows[int(index)] for index in _shortest(strategy, rows, _PROBED)]
    inputs = collate_pairs(probe, pad_id, shared=False).to(_device(model))
    return _fastest(strategy, model, inputs, lambda way: check_answers_way(model, probe, way, pad_id))


def shares_prompts(strategy: TrainingStrategy, model: nn.Module, rows: TokenRows, pad_id: int, way: Way) -> bool:
    """Whether the prompt may be encoded once for both answers."""
    probe = [rows[int(index)] for index in _longest(strategy, rows)]
    difference = check_shared_prompt(model, probe, pad_id, way)
    return _said(strategy, difference, model, "a prompt shared by both answers", "each answer gets a row of its own")


def _fastest(
    strategy: TrainingStrategy, model: nn.Module, inputs: Mapping[str, torch.Tensor], check: Callable[[Way], float]
) -> Way:
    """Compares in full precision, whatever the steps compute in: rounding would look like another model."""
    if not _said(strategy, check(PICKED), model, "the logits of trained tokens alone", "all logits are computed"):
        return ALL
    with strategy.session.autocast() if strategy.session else nullcontext():  # there is none in half precision
        known = is_written_out(model, inputs)
    if not known:
        return PICKED
    exact = _said(strategy, check(WRITTEN_OUT), model, "a forward written out", "its own is called")
    return WRITTEN_OUT if exact else PICKED


def _said(strategy: TrainingStrategy, difference: float, model: nn.Module, what: str, instead: str) -> bool:
    quantized = bool(
        getattr(model, "is_quantized", False) or getattr(getattr(model, "base_model", None), "is_quantized", False)
    )
    if difference <= (ROUNDING_QUANTIZED if quantized else ROUNDING):
        return True
    if strategy.session:
        strategy.session.run.note(
            f"this model does not give its own numbers for {what} (relative difference {difference:.2g}), so {instead}."
        )
    return False


def _shortest(strategy: TrainingStrategy, rows: TokenRows, count: int) -> Indices:
    return np.argsort(strategy.lengths(rows), kind="stable")[:count]


def _longest(strategy: TrainingStrategy, rows: TokenRows) -> Indices:
    return np.argsort(-strategy.lengths(rows), kind="stable")[:_PROBED]


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
