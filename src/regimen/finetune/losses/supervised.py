"""The supervised loss: cross-entropy of the trained tokens, as a sum and a count.

N trained tokens of the batch, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import nn

from regimen.finetune.batches.collate import Batch
from regimen.finetune.losses.head import target_logits
from regimen.finetune.losses.logprobs import token_logprobs
from regimen.strategy import Loss


def sft_loss(model: nn.Module, batch: Batch, *, fast: bool = True) -> Loss:
    """Cross-entropy in nats, summed over the trained tokens, in float32 whatever the model computes in.

    `fast=False` computes the logits of all tokens; it is for models that `check_fast_head` says no to. Without
    gradients, so in evaluation, the metric `token_accuracy` comes with it: a training step does not pay for it.
    """
    logits_NV, auxiliary = target_logits(model, batch.inputs, batch.targets.place_N, fast=fast)
    total = -token_logprobs(logits_NV, batch.targets.token_N).sum()
    count = batch.targets.token_N.numel()
    if auxiliary is not None:
        total = total + auxiliary * count
    if torch.is_grad_enabled():
        return Loss(total, count)
    correct = (logits_NV.argmax(dim=-1) == batch.targets.token_N).sum()
    return Loss(total, count, {"token_accuracy": (correct, count)})
