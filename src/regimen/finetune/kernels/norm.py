"""Root mean square layer normalization (arXiv:1910.07467), the gradient written out.

T tokens, H hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable


def rms_norm(x_TH: torch.Tensor, weight_H: torch.Tensor, epsilon: float) -> torch.Tensor:
    """`weight * x / sqrt(mean(x ** 2) + epsilon)`, shape (T, H); float32, differentiable once.

    Kept for the backward pass are the input and one number a token.
    """
    normed_TH: torch.Tensor = _RMSNorm.apply(x_TH, weight_H, epsilon)  # type: ignore[no-untyped-call]
    return normed_TH


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TH: torch.Tensor, weight_H: torch.Tensor, epsilon: float) -> torch.Tensor:
        length_T: torch.Tensor = torch.linalg.vector_norm(x_TH, dim=-1, keepdim=True)
        scale_T = length_T.square_().div_(x_TH.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x_TH, weight_H, scale_T)
        normed_TH = x_TH * scale_T
        return normed_TH.mul_(weight_H)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TH: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        x_TH, weight_H, scale_T = ctx.saved_tensors
        product_TH = grad_TH * x_TH
        grad_weight_H = torch.mv(product_TH.t(), scale_T[:, 0]) if ctx.needs_input_grad[1] else None
        # How much the token's scale moves with x: mean(grad * weight * x) * scale ** 3.
        pull_T = torch.mv(product_TH, weight_H)[:, None].mul_(scale_T.pow(3)).div_(-x_TH.shape[-1])
        grad_x_TH = torch.mul(grad_TH, weight_H, out=product_TH).mul_(scale_T).addcmul_(x_TH, pull_T)
        return grad_x_TH, grad_weight_H, None
