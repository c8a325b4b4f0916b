"""How much two texts or token sequences share at their beginning."""

from __future__ import annotations

from collections.abc import Sequence


def common_prefix_length(ids: Sequence[object], other: Sequence[object]) -> int:
    """How many leading elements two sequences of one type share."""
    if ids == other[: len(ids)]:
        return len(ids)
    pairs = enumerate(zip(ids, other, strict=False))
    return next((at for at, (one, two) in pairs if one != two), min(len(ids), len(other)))
