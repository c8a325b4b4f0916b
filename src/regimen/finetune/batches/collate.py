"""Tokenized rows as the tensors of one batch: padded on the right, or packed with each row kept apart.

B rows of the batch, T tokens, N trained tokens of the whole batch.

No attention mask is made unless asked for: a causal model cannot see padding on its right, and without a mask
attention takes its fastest kernel. What is trained is listed here, on the CPU, so that the loss needs no
synchronisation with the accelerator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from regimen.finetune.batches.packing import pack

IGNORED = -100
"""The label of a token that is not trained, as everywhere in transformers."""

Row = Mapping[str, Sequence[int] | int]
"""`input_ids` and `labels` (aligned, not shifted) of one row, and `row`, its number in the data."""


class Targets(NamedTuple):
    """The trained tokens, and where the model predicts each of them."""

    place_N: torch.Tensor
    """Flat positions `b * T + t` whose output predicts the token; one before the token itself. int64."""

    token_N: torch.Tensor
    """The tokens to predict, int64."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Targets:
        return Targets(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))


class Batch(dict[str, torch.Tensor]):
    """What the model takes, by its argument names; beside it what the loss needs.

    `model(**batch, use_cache=False)` gives the model's own loss of it. With a cache, which is the default of most
    models, transformers does not keep packed rows apart.

    Keys: `input_ids` and `labels`, shape (B, T), and where needed `position_ids` (B, T) or `attention_mask` (B, T).
    `rows` are the numbers of the rows in the data, to name one whose loss is not finite. `num_tokens` counts real
    tokens, without padding.
    """

    targets: Targets
    rows: list[int]
    num_tokens: int

    def __init__(self, tensors: Mapping[str, torch.Tensor], targets: Targets, rows: list[int], num_tokens: int) -> None:
        super().__init__(tensors)
        self.targets = targets
        self.rows = rows
        self.num_tokens = num_tokens

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """What the model takes to give logits: all of it but the labels."""
        return {name: tensor for name, tensor in self.items() if name != "labels"}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same batch on a device; tensors that are there already are not copied."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same batch in memory that a GPU reads while we go on."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        tensors = {name: change(tensor) for name, tensor in self.items()}
        return type(self)(tensors, Targets(*map(change, self.targets)), self.rows, self.num_tokens)


WORTH_FOLDING = 0.9
"""Rows are folded if that leaves at most this share of the batch: a mask slows attention down by a few percent."""


def collate(rows: Sequence[Row], pad_id: int = 0, *, fold: bool = False, attention_mask: bool = False) -> Batch:
    """One row of the batch for each row of data, padded on the right to the longest.

    `fold=True` puts several short rows of this batch into one where that saves a tenth or more: the same rows, the
    same loss, less padding. It is for models that `check_packing` says yes to. `attention_mask=True` adds the usual
    mask of ones and zeros, for models that are not causal or that ask for it, and folds nothing.
    """
    if attention_mask:
        batch = collate_packed([[row] for row in rows], pad_id)
        size_B = torch.tensor([len(_ids(row)) for row in rows])
        batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < size_B[:, None]).long()
        return batch
    return collate_packed(folded(rows) if fold else [[row] for row in rows], pad_id)


def folded(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of a batch in as few bins as its longest row allows, or each in its own where that saves little."""
    lengths = np.array([len(_ids(row)) for row in rows], dtype=np.int64)
    bins = pack(lengths, int(lengths.max()))
    if len(bins) > WORTH_FOLDING * len(rows):
        return [[row] for row in rows]
    return [[rows[place] for place in places] for places in bins]


def collate_packed(bins: Sequence[Sequence[Row]], pad_id: int = 0) -> Batch:
    """One row of the batch for each bin. Positions start again at each row of data, which keeps rows apart.

    transformers reads the document borders from `position_ids` alone, and only if there is no attention mask: under
    sdpa, eager and flex for any B, under flash attention for B = 1. The first token of a row is never trained, since
    nothing comes before it.
    """
    lengths = [[len(_ids(row)) for row in rows] for rows in bins]
    longest = max(map(sum, lengths))
    input_BT = np.full((len(bins), longest), pad_id, dtype=np.int64)
    label_BT = np.full((len(bins), longest), IGNORED, dtype=np.int64)
    position_BT = np.zeros((len(bins), longest), dtype=np.int64)
    for b, rows in enumerate(bins):
        start = 0
        for row, length in zip(rows, lengths[b], strict=True):
            end = start + length
            input_BT[b, start:end] = _ids(row)
            label_BT[b, start + 1 : end] = _labels(row)[1:]
            position_BT[b, start:end] = np.arange(length)
            start = end
        position_BT[b, start:] = np.arange(longest - start)
    tensors = {"input_ids": torch.from_numpy(input_BT), "labels": torch.from_numpy(label_BT)}
    if any(len(rows) > 1 for rows in bins):
        tensors["position_ids"] = torch.from_numpy(position_BT)
    return Batch(tensors, _targets(label_BT), [_number(row) for rows in bins for row in rows], sum(map(sum, lengths)))


def _targets(label_BT: NDArray[np.int64]) -> Targets:
    # The first column is never a target, so the place before is always in the same row.
    place_N = np.flatnonzero(label_BT.reshape(-1) != IGNORED)
    return Targets(torch.from_numpy(place_N - 1), torch.from_numpy(label_BT.reshape(-1)[place_N]))


def _ids(row: Row) -> Sequence[int]:
    ids = row["input_ids"]
    assert not isinstance(ids, int)
    return ids


def _labels(row: Row) -> Sequence[int]:
    labels = row["labels"]
    assert not isinstance(labels, int)
    return labels


def _number(row: Row) -> int:
    number = row.get("row", -1)
    assert isinstance(number, int)
    return number
