"""Direct preference optimization: the policy's log-probability of two answers against that of a reference.

B pairs, S rows of the input, T tokens, N answer tokens of the whole batch, V vocabulary.

Loss types, with d = (log p(chosen) - log r(chosen)) - (log p(rejected) - log r(rejected)), policy p, reference r:
- `sigmoid`: -log sigmoid(beta d), DPO (arXiv:2305.18290).
- `hinge`: max(0, 1 - beta d), SLiC (arXiv:2305.10425) as normalised in RSO (arXiv:2309.06657).
- `ipo`: (d' - 1 / (2 beta))^2, IPO (arXiv:2310.12036), where d' takes means over the tokens of each answer instead of
  sums; the paper does not say so, its authors confirmed it to TRL.
- `robust`: DPO with the expected share of swapped pairs taken out (arXiv:2403.00409).
The definitions, and so the numbers, are those of TRL 1.16.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from regimen.finetune.batches.pairs import PairBatch, Reference
from regimen.finetune.losses.head import PICKED, Output, Way, unwrapped
from regimen.finetune.losses.logprobs import token_logprobs
from regimen.strategy import Loss

DPOLoss = Literal["sigmoid", "hinge", "ipo", "robust"]


class AnswerLogprobs(NamedTuple):
    """Of each pair's two answers, given the prompt: summed log-probability in nats, and number of tokens. float32."""

    chosen_B: torch.Tensor
    rejected_B: torch.Tensor
    num_chosen_B: torch.Tensor
    num_rejected_B: torch.Tensor


def sequence_logprobs(model: nn.Module, batch: PairBatch, way: Way = PICKED) -> AnswerLogprobs:
    """Log-probabilities of both answers of each pair, differentiable; what every preference loss is made of.

    `way` is how logits are come to, as for `sft_loss`.
    """
    logits_NV, _ = pair_logits(model, batch, way)
    logprob_N = token_logprobs(logits_NV, batch.targets.token_N, overwrite=way.overwrites)
    # How many answers there are is known without asking the device: two a pair.
    zeros_A = torch.zeros(2 * len(batch.rows), device=logprob_N.device)
    chosen_B, rejected_B = zeros_A.index_add(0, batch.answer_N, logprob_N).chunk(2)
    num_chosen_B, num_rejected_B = zeros_A.index_add(0, batch.answer_N, torch.ones_like(logprob_N)).chunk(2)
    return AnswerLogprobs(chosen_B, rejected_B, num_chosen_B, num_rejected_B)


def pair_logits(model: nn.Module, batch: PairBatch, way: Way = PICKED) -> Output:
    """Logits that predict the answer tokens, shape (N, V), in the order of `batch.targets`."""
    inputs: dict[str, torch.Tensor] = dict(batch)
    if batch.segment_ST is not None:
        inputs["attention_mask"] = shared_prompt_mask(batch.segment_ST, _dtype(model))
    return way.logits(model, inputs, batch.targets.place_N)


def shared_prompt_mask(segment_ST: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The additive mask, shape (S, 1, T, T): 0 where a token may look, the lowest number where it may not.

    Causal, within one pair, and no rejected token looks at a chosen one. Additive rather than boolean, since eager
    attention adds it and sdpa would turn a boolean one into this in every layer.
    """
    num_tokens = segment_ST.shape[1]
    causal_TT = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=segment_ST.device).tril()
    query_STT, key_STT = segment_ST[:, :, None], segment_ST[:, None, :]
    # The same part of the same pair, or its prompt: parts are numbered from a multiple of three.
    allowed_STT = causal_TT & ((query_STT == key_STT) | (query_STT - query_STT % 3 == key_STT))
    mask_STT = torch.zeros(allowed_STT.shape, dtype=dtype, device=segment_ST.device)
    return mask_STT.masked_fill_(~allowed_STT, torch.finfo(dtype).min)[:, None]


def dpo_loss(
    logprobs: AnswerLogprobs,
    reference: Reference,
    *,
    beta: float,
    loss_type: DPOLoss = "sigmoid",
    label_smoothing: float = 0.0,
) -> Loss:
    """The loss summed over the pairs, and rewards as metrics.

    `beta` > 0: how close to the reference (for `ipo` the regularization tau). `label_smoothing` in [0, 0.5): the
    share of pairs that are believed swapped, read by `robust` only.
    """
    chosen_B = logprobs.chosen_B - reference.chosen_B
    rejected_B = logprobs.rejected_B - reference.rejected_B
    if loss_type == "ipo":
        margin_B = chosen_B / logprobs.num_chosen_B.clamp(min=1) - rejected_B / logprobs.num_rejected_B.clamp(min=1)
        loss_B = (margin_B - 1 / (2 * beta)) ** 2
    elif loss_type == "hinge":
        loss_B = torch.relu(1 - beta * (chosen_B - rejected_B))
    elif loss_type == "robust":
        scaled_B = beta * (chosen_B - rejected_B)
        clean_B = (1 - label_smoothing) * F.logsigmoid(scaled_B)
        loss_B = (label_smoothing * F.logsigmoid(-scaled_B) - clean_B) / (1 - 2 * label_smoothing)
    else:
        loss_B = -F.logsigmoid(beta * (chosen_B - rejected_B))
    return Loss(loss_B.sum(), loss_B.numel(), _rewards(beta * chosen_B.detach(), beta * rejected_B.detach()))


def _rewards(chosen_B: torch.Tensor, rejected_B: torch.Tensor) -> dict[str, tuple[torch.Tensor, int]]:
    pairs = chosen_B.numel()
    return {
        "rewards/chosen": (chosen_B.sum(), pairs),
        "rewards/rejected": (rejected_B.sum(), pairs),
        "rewards/margin": ((chosen_B - rejected_B).sum(), pairs),
        "rewards/accuracy": ((chosen_B > rejected_B).sum(), pairs),
    }


def _dtype(model: nn.Module) -> torch.dtype:
    """What attention computes in, which its additive mask must match."""
    kind = next(parameter.device.type for parameter in model.parameters())
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    declared = getattr(unwrapped(model), "dtype", None)
    return declared if isinstance(declared, torch.dtype) else torch.float32
