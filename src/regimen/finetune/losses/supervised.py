"""The supervised loss: cross-entropy of the trained tokens, as a sum and a count.

N trained tokens of the batch, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import nn

from regimen.finetune.batches.collate import Batch
from regimen.finetune.losses.head import PICKED, Way
from regimen.finetune.losses.logprobs import token_logprobs
from regimen.strategy import Loss


def sft_loss(model: nn.Module, batch: Batch, way: Way = PICKED) -> Loss:
    """Cross-entropy in nats, summed over the trained tokens, in float32 whatever the model computes in.

    `way` is how logits are come to; `probes.logits_way` finds the fastest that gives a model's own numbers. Without
    gradients, so in evaluation, the metric `token_accuracy` comes with it: a training step does not pay for it.
    """
    logits_NV, auxiliary = way.logits(model, batch.inputs, batch.targets.place_N)
    token_N, training = batch.targets.token_N, torch.is_grad_enabled()
    total = -token_logprobs(logits_NV, token_N, overwrite=way.overwrites and training).sum()
    count = token_N.numel()
    if auxiliary is not None:
        total = total + auxiliary * count
    if training:
        return Loss(total, count)
    correct = (logits_NV.argmax(dim=-1) == token_N).sum()
    return Loss(total, count, {"token_accuracy": (correct, count)})
