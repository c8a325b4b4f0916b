"""Batch norms while architectures are compared: where their mean and variance come from.

- `recalibrated`: each architecture gets its own, the mean over some batches of training inputs. The statistics that
  training a supernet left are a mixture over all paths and fit none (Guo et al., arXiv:1904.00420; Cai et al.,
  arXiv:1908.09791).
- `batch`: those of the rows that are judged, together: nothing to prepare, and an answer depends on the other rows.
- `running`: those that training left, as OSNASLib does. For nets that were trained alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Normalization = Literal["recalibrated", "batch", "running"]


class Moments(NamedTuple):
    """What a batch norm takes off and divides by, for each channel."""

    mean: Tensor
    variance: Tensor


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


@contextmanager
def undisturbed(net: nn.Module) -> Iterator[None]:
    """The net in evaluation mode; afterwards every mode and every statistic is as it was, also after an exception."""
    modes = [(module, module.training) for module in net.modules()]
    before = [
        (norm, norm.momentum, norm.track_running_stats, norm.running_mean, norm.running_var, norm.num_batches_tracked)
        for norm in batch_norms(net)
    ]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for norm, momentum, tracks, mean, variance, count in before:
            norm.momentum, norm.track_running_stats = momentum, tracks
            norm.running_mean, norm.running_var, norm.num_batches_tracked = mean, variance, count


def blank(norms: Sequence[_BatchNorm], device: torch.device) -> list[Moments]:
    """Moments to collect into, one for each norm."""
    return [
        Moments(torch.zeros(norm.num_features, device=device), torch.ones(norm.num_features, device=device))
        for norm in norms
    ]


def use(norms: Sequence[_BatchNorm], moments: Sequence[Moments]) -> None:
    """Has the norms work with these moments, and change these when they collect."""
    for norm, (mean, variance) in zip(norms, moments, strict=True):
        norm.running_mean, norm.running_var = mean, variance


def collect(norms: Sequence[_BatchNorm], number: int) -> None:
    """Has the norms work with the statistics of the batch, and add them to the mean over batches 0 to `number`."""
    for norm in norms:
        norm.training = norm.track_running_stats = True
        # What momentum None means, without reading the count of batches from the device for each norm.
        norm.momentum, norm.num_batches_tracked = 1 / (number + 1), None


def apply_moments(norms: Sequence[_BatchNorm]) -> None:
    """Has the norms work with the moments that they are given."""
    for norm in norms:
        norm.training = False


def apply_batch(norms: Sequence[_BatchNorm]) -> None:
    """Has the norms work with the statistics of the batch, and remember nothing."""
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
