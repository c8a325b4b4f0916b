"""Preference pairs as the tensors of one batch: a prompt and both of its answers in one row, or in two.

B pairs, T tokens, N answer tokens of the whole batch, S rows of the model's
input (at most B, or 2B).

In one row, `prompt + chosen + rejected`, the prompt is encoded once. The rejected answer must then not see the chosen
one and must stand at the same positions, right behind the prompt: `position_ids` and a mask of shape (S, 1, T, T) do
that. Since there is a mask anyway, short pairs of a batch also share a row, which leaves little padding. The first
token of both answers is predicted from the last token of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from regimen.finetune.batches.collate import Targets
from regimen.finetune.batches.packing import pack

PairRow = Mapping[str, Sequence[int] | int]
"""`prompt_ids`, `chosen_ids` and `rejected_ids` of one pair, and `row`, its number in the data."""


class Reference(NamedTuple):
    """Summed log-probabilities of both answers under the reference model, shape (B,), float32; constant in training."""

    chosen_B: torch.Tensor
    rejected_B: torch.Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Reference:
        return Reference(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))


class PairBatch(dict[str, torch.Tensor]):
    """What the model takes, by its argument names, but for the mask, which `mask_for` makes on the device.

    Keys: `input_ids`, shape (S, T), and for a shared prompt `position_ids`, shape (S, T).
    """

    targets: Targets
    answer_N: torch.Tensor
    """To which answer each target belongs: b for the chosen answer of pair b, B + b for its rejected one. int64."""
    segment_ST: torch.Tensor | None
    """Which tokens may see which: 3 times the place of the pair in its row, plus 0 for the prompt, 1 for the chosen
    and 2 for the rejected answer, int16; None where each answer has a row of its own."""
    reference: Reference | None
    """Of these pairs, where it was computed beforehand."""
    rows: list[int]
    num_tokens: int

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        targets: Targets,
        answer_N: torch.Tensor,
        segment_ST: torch.Tensor | None,
        rows: list[int],
        num_tokens: int,
        reference: Reference | None = None,
    ) -> None:
        super().__init__(tensors)
        self.targets = targets
        self.answer_N = answer_N
        self.segment_ST = segment_ST
        self.rows = rows
        self.num_tokens = num_tokens
        self.reference = reference

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """The same batch on a device; tensors that are there already are not copied."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """The same batch in memory that a GPU reads while we go on."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        return type(self)(
            {name: change(tensor) for name, tensor in self.items()},
            Targets(*map(change, self.targets)),
            change(self.answer_N),
            None if self.segment_ST is None else change(self.segment_ST),
            self.rows,
            self.num_tokens,
            None if self.reference is None else Reference(*map(change, self.reference)),
        )


def shared_lengths(rows: Sequence[PairRow]) -> NDArray[np.int64]:
    """Tokens of each pair in one row, prompt counted once; what to form batches by."""
    return np.array([sum(len(_ids(row, part)) for part in PARTS) for row in rows], dtype=np.int64)


PARTS = ("prompt_ids", "chosen_ids", "rejected_ids")


def collate_pairs(
    rows: Sequence[PairRow], pad_id: int = 0, *, shared: bool = True, reference: Reference | None = None
) -> PairBatch:
    """The pairs of a batch, padded on the right; `reference` is that of these rows and travels with the batch.

    `shared=False` gives each answer a row of its own behind a copy of the prompt, chosen answers first (S = 2B): for
    models that take no mask of four dimensions, see `check_shared_prompt`. The first token of an answer without a
    prompt has nothing before it and is no target.
    """
    parts = [tuple(_ids(row, part) for part in PARTS) for row in rows]
    layout = _shared(parts, pad_id) if shared else _separate(parts, pad_id)
    tensors, targets, answers, segment_ST, num_tokens = layout
    return PairBatch(tensors, targets, answers, segment_ST, [_number(row) for row in rows], num_tokens, reference)


_Parts = Sequence[tuple[Sequence[int], ...]]
_Layout = tuple[dict[str, torch.Tensor], Targets, torch.Tensor, torch.Tensor | None, int]


def _shared(parts: _Parts, pad_id: int) -> _Layout:
    sizes = np.array([[len(ids) for ids in row] for row in parts], dtype=np.int64)
    longest = int(sizes.sum(axis=1).max())
    bins = pack(sizes.sum(axis=1), longest)
    input_ST = np.full((len(bins), longest), pad_id, dtype=np.int64)
    position_ST = np.zeros((len(bins), longest), dtype=np.int64)
    segment_ST = np.zeros((len(bins), longest), dtype=np.int16)
    targets = _TargetList()
    for s, pairs in enumerate(bins):
        start = 0
        for place, b in enumerate(pairs.tolist()):
            (prompt, chosen, rejected), (p, c, r) = parts[b], sizes[b].tolist()
            end = start + p + c + r
            input_ST[s, start:end] = [*prompt, *chosen, *rejected]
            position_ST[s, start:end] = np.r_[: p + c, p : p + r]
            segment_ST[s, start:end] = 3 * place + np.repeat([0, 1, 2], [p, c, r])
            flat = s * longest + start + p
            targets.add(chosen, flat - 1, flat, b, with_first=p > 0)
            targets.add(rejected, flat - 1, flat + c, len(parts) + b, with_first=p > 0)
            start = end
        segment_ST[s, start:] = 3 * len(pairs)
    tensors = {"input_ids": torch.from_numpy(input_ST), "position_ids": torch.from_numpy(position_ST)}
    return tensors, *targets.tensors(), torch.from_numpy(segment_ST), int(sizes.sum())


def _separate(parts: _Parts, pad_id: int) -> _Layout:
    answers = [(row[0], row[which]) for which in (1, 2) for row in parts]
    longest = max(len(prompt) + len(answer) for prompt, answer in answers)
    input_ST = np.full((len(answers), longest), pad_id, dtype=np.int64)
    targets = _TargetList()
    num_tokens = 0
    for s, (prompt, answer) in enumerate(answers):
        p, end = len(prompt), len(prompt) + len(answer)
        input_ST[s, :end] = [*prompt, *answer]
        num_tokens += end
        targets.add(answer, s * longest + p - 1, s * longest + p, s, with_first=p > 0)
    return {"input_ids": torch.from_numpy(input_ST)}, *targets.tensors(), None, num_tokens


class _TargetList:
    """Collects the targets of one batch, answer by answer."""

    def __init__(self) -> None:
        self.places: list[NDArray[np.int64]] = []
        self.tokens: list[NDArray[np.int64]] = []
        self.answers: list[NDArray[np.int64]] = []

    def add(self, ids: Sequence[int], before: int, start: int, answer: int, *, with_first: bool) -> None:
        """An answer whose first token is predicted at `before` and whose own places begin at `start`."""
        place = np.arange(start - 1, start + len(ids) - 1)
        place[:1] = before
        first = 0 if with_first else 1
        self.places.append(place[first:])
        self.tokens.append(np.asarray(ids, dtype=np.int64)[first:])
        self.answers.append(np.full(len(place[first:]), answer))

    def tensors(self) -> tuple[Targets, torch.Tensor]:
        place_N, token_N, answer_N = (
            torch.from_numpy(np.concatenate(parts).astype(np.int64))
            for parts in (self.places, self.tokens, self.answers)
        )
        return Targets(place_N, token_N), answer_N


def _ids(row: PairRow, part: str) -> Sequence[int]:
    ids = row[part]
    assert not isinstance(ids, int)
    return ids


def _number(row: PairRow) -> int:
    number = row.get("row", -1)
    assert isinstance(number, int)
    return number
