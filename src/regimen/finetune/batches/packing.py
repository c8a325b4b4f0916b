"""Several short rows in one long one: best fit, longest first, so that almost no padding is left.

Best-fit-decreasing bin packing (Johnson et al., SIAM J. Comput. 3(4), 1974), as in "Fewer Truncations Improve Language
Modeling" (arXiv:2404.10830), but rows are never cut: each keeps its own positions and attends to itself only.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from regimen.errors import SpecError
from regimen.finetune.batches.order import Indices


def pack(lengths: NDArray[np.integer], capacity: int) -> list[Indices]:
    """Bins of rows, at most `capacity` tokens each; every row exactly once, the same bins for the same lengths.

    Raises `SpecError` for a row that is longer than a bin.

    >>> [bin.tolist() for bin in pack(np.array([2, 7, 3, 5]), 10)]
    [[1, 2], [3, 0]]
    """
    longest = int(np.max(lengths, initial=0))
    if longest > capacity:
        raise SpecError(
            f"a row has {longest} tokens, and a packed row holds {capacity}. "
            f"Pack into at least {longest} tokens, or drop or truncate longer rows."
        )
    bins: list[list[int]] = []
    open_room: list[int] = []  # rooms that occur, ascending
    bins_by_room: dict[int, list[int]] = {}
    for row in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        length = int(lengths[row])
        place = bisect_left(open_room, length)
        if place == len(open_room):
            bins.append([row])
            chosen, room = len(bins) - 1, capacity
        else:
            room = open_room[place]
            chosen = bins_by_room[room].pop()
            bins[chosen].append(row)
            if not bins_by_room[room]:
                del bins_by_room[room]
                del open_room[place]
        left = room - length
        if left not in bins_by_room:
            open_room.insert(bisect_left(open_room, left), left)
        bins_by_room.setdefault(left, []).append(chosen)
    return [np.array(rows, dtype=np.int64) for rows in bins]
