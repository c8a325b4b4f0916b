"""Log-probabilities of given tokens, in pieces that stay in a processor's cache.

N trained tokens of the batch, V vocabulary, C rows of a piece.

The logits are the largest tensor of a step. `F.cross_entropy` reads and writes arrays of their size seven times:
log-probabilities of the whole vocabulary, zeros for the gradient of those that were picked, the gradient itself, and a
float32 copy where the model computes in half precision. Here a piece of a few rows goes through the same formula; kept
between forward and backward are the logits, which the model has anyway, and one number a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_PIECE = {"cpu": 1 << 18}
"""Elements of a piece: on a CPU 1 MB, about what a core has for itself."""
_PIECE_ELSEWHERE = 1 << 24
"""On a GPU 64 MB: enough to keep it busy."""


def token_logprobs(logits_NV: torch.Tensor, token_N: torch.Tensor, *, overwrite: bool = False) -> torch.Tensor:
    """Of each row's token, in nats, shape (N,), computed in float32 whatever the logits are in; differentiable once.

    `-token_logprobs(x, t)` is `F.cross_entropy(x.float(), t, reduction="none")` up to the order of a row's sum.
    `overwrite=True` uses the memory of float32 logits for probabilities and for the gradient: half the memory and one
    exponential a logit instead of two, for logits that nobody else reads.
    """
    kind = _OverLogits if overwrite and logits_NV.dtype == torch.float32 else _BesideLogits
    picked: torch.Tensor = kind.apply(logits_NV, token_N)  # type: ignore[no-untyped-call]
    return picked


class _BesideLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_NV: torch.Tensor, token_N: torch.Tensor) -> torch.Tensor:
        log_total_N = logits_NV.new_empty(logits_NV.shape[0], dtype=torch.float32)
        for piece, x_CV in _pieces(logits_NV):
            top_C = x_CV.amax(dim=1)
            log_total_N[piece] = (x_CV - top_C[:, None]).exp_().sum(dim=1).log_().add_(top_C)
        ctx.save_for_backward(logits_NV, token_N, log_total_N)
        return logits_NV.gather(1, token_N[:, None])[:, 0].float().sub_(log_total_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits_NV, token_N, log_total_N = ctx.saved_tensors
        grad_NV = torch.empty_like(logits_NV)
        for piece, x_CV in _pieces(logits_NV):
            weight_C = grad_N[piece]
            share_CV = (x_CV - log_total_N[piece, None]).exp_().mul_(-weight_C[:, None])
            share_CV.scatter_add_(1, token_N[piece, None], weight_C[:, None])
            grad_NV[piece] = share_CV
        return grad_NV, None


class _OverLogits(torch.autograd.Function):
    """Logits become exp(x - top) and then the gradient. What autograd kept of them elsewhere is an error then, not a
    wrong number: a tensor knows how often it was written.
    """

    @staticmethod
    def forward(ctx: Any, logits_NV: torch.Tensor, token_N: torch.Tensor) -> torch.Tensor:
        picked_N = logits_NV.gather(1, token_N[:, None])[:, 0]
        total_N = torch.empty_like(picked_N)
        for piece, x_CV in _pieces(logits_NV):
            top_C = x_CV.amax(dim=1)
            picked_N[piece] -= top_C
            torch.sum(x_CV.sub_(top_C[:, None]).exp_(), dim=1, out=total_N[piece])
        ctx.save_for_backward(logits_NV, token_N, total_N)
        return picked_N.sub_(total_N.log())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: torch.Tensor) -> tuple[torch.Tensor, None]:
        exp_NV, token_N, total_N = ctx.saved_tensors
        grad_NV = exp_NV.mul_((grad_N / total_N).neg_()[:, None])
        return grad_NV.scatter_add_(1, token_N[:, None], grad_N[:, None]), None


def _pieces(logits_NV: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Rows at a time, in float32."""
    num_rows, num_tokens = logits_NV.shape
    step = max(1, _PIECE.get(logits_NV.device.type, _PIECE_ELSEWHERE) // max(1, num_tokens))
    for start in range(0, num_rows, step):
        piece = slice(start, min(start + step, num_rows))
        yield piece, logits_NV[piece].float()
