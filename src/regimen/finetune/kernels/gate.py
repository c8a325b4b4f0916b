"""The gate of an MLP, SwiGLU (arXiv:2002.05202), in pieces that stay in a processor's cache.

T tokens, F size of the MLP, C tokens of a piece.

Kept for the backward pass are the two inputs alone; what lies between them is cheaper to compute again in the cache
than to read back from memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_PIECE = 1 << 16
"""Elements of a piece: 256 KB in float32, a few of which fit beside each other."""


def gated_silu(gate_TF: torch.Tensor, up_TF: torch.Tensor) -> torch.Tensor:
    """`gate * sigmoid(gate) * up`, shape (T, F); differentiable once."""
    product_TF: torch.Tensor = _GatedSiLU.apply(gate_TF, up_TF)  # type: ignore[no-untyped-call]
    return product_TF


class _GatedSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_TF: torch.Tensor, up_TF: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate_TF, up_TF)
        product_TF = torch.empty_like(gate_TF)
        for gate_CF, up_CF, product_CF in _pieces(gate_TF, up_TF, product_TF):
            torch.mul(gate_CF.sigmoid().mul_(gate_CF), up_CF, out=product_CF)
        return product_TF

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate_TF, up_TF = ctx.saved_tensors
        grad_gate_TF, grad_up_TF = torch.empty_like(gate_TF), torch.empty_like(up_TF)
        for gate_CF, up_CF, grad_CF, to_gate_CF, to_up_CF in _pieces(gate_TF, up_TF, grad_TF, grad_gate_TF, grad_up_TF):
            sigmoid_CF = gate_CF.sigmoid()
            silu_CF = gate_CF * sigmoid_CF
            torch.mul(grad_CF, silu_CF, out=to_up_CF)
            slope_CF = silu_CF.neg_().add_(gate_CF).mul_(sigmoid_CF).add_(sigmoid_CF)  # s + gate * s * (1 - s)
            torch.mul(grad_CF, up_CF, out=to_gate_CF).mul_(slope_CF)
        return grad_gate_TF, grad_up_TF


def _pieces(*tensors_TF: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same few tokens of each."""
    num_tokens, size = tensors_TF[0].shape
    step = max(1, _PIECE // max(1, size))
    for start in range(0, num_tokens, step):
        yield tuple(tensor[start : start + step] for tensor in tensors_TF)
