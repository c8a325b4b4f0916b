"""Rotary position embedding (arXiv:2104.09864), halves of a head rotated against each other, the gradient written out.

T tokens, A heads, D size of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable


def rotated(x_TAD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
    """`x * cos + (-second half, first half) * sin`, shape (T, A, D); differentiable once.

    Both halves of `cos` and of `sin`, (T, 1, D), hold the same angles.
    """
    turned_TAD: torch.Tensor = _Rotated.apply(x_TAD, cos_TD, sin_TD)  # type: ignore[no-untyped-call]
    return turned_TAD


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TAD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos_TD, sin_TD)
        return _turn(x_TAD, cos_TD, sin_TD, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TAD: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos_TD, sin_TD = ctx.saved_tensors
        return _turn(grad_TAD, cos_TD, sin_TD, -1), None, None


def _turn(x_TAD: torch.Tensor, cos_TD: torch.Tensor, sin_TD: torch.Tensor, way: int) -> torch.Tensor:
    """By the angles, or back by them with `way=-1`: the transpose of a rotation is its inverse."""
    half = x_TAD.shape[-1] // 2
    turned_TAD = x_TAD * cos_TD
    turned_TAD[..., :half].addcmul_(x_TAD[..., half:], sin_TD[..., :half], value=-way)
    turned_TAD[..., half:].addcmul_(x_TAD[..., :half], sin_TD[..., half:], value=way)
    return turned_TAD
