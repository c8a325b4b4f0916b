"""Causal attention of several documents that stand in one row, each among its own tokens only.

T tokens of all documents, A heads, D size of a head.

A mask would say the same, but attention then computes all T * T pairs of tokens. Document by document it is the sum of
their own squares, and PyTorch's kernel leaves out the half that causality forbids.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F


def attention_by_document(
    query_TAD: torch.Tensor, key_TAD: torch.Tensor, value_TAD: torch.Tensor, lengths: Sequence[int], scale: float
) -> torch.Tensor:
    """What each token gathers from its document up to itself, shape (T, A * D). `lengths` add up to T."""
    parts = (tensor.transpose(0, 1)[None].split(list(lengths), dim=2) for tensor in (query_TAD, key_TAD, value_TAD))
    gathered = [
        F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)[0].transpose(0, 1)
        for query, key, value in zip(*parts, strict=True)
    ]
    return torch.cat(gathered).flatten(1)


def attention_under_mask(
    query_TAD: torch.Tensor, key_TAD: torch.Tensor, value_TAD: torch.Tensor, mask_SLL: torch.Tensor, scale: float
) -> torch.Tensor:
    """The same under a mask that is added to the scores, shape (S, 1, L, L) for S rows of L tokens, T = S * L."""
    num_rows = mask_SLL.shape[0]
    query, key, value = (
        tensor.unflatten(0, (num_rows, -1)).transpose(1, 2) for tensor in (query_TAD, key_TAD, value_TAD)
    )
    gathered = F.scaled_dot_product_attention(query, key, value, attn_mask=mask_SLL, scale=scale)
    return gathered.transpose(1, 2).flatten(0, 1).flatten(1)
