"""A variational autoencoder for 28 x 28 pictures (Kingma and Welling, arXiv:1312.6114), with DeepOBS' layers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.benchmark.nets.initial import filled

DROPOUT = 0.2
SLOPE = 0.3
"""Of the leaky ReLU below 0."""


class Drawn(NamedTuple):
    """What the autoencoder makes of B pictures."""

    images: Tensor
    """(B, 1, 28, 28) in [0, 1]"""
    mean: Tensor
    """(B, latents) of the code"""
    log_deviation: Tensor
    """(B, latents) of the code: the logarithm of its standard deviation"""


class VariationalAutoencoder(nn.Module):
    """Three convolutions, a normal code, two dense layers and three transposed convolutions; 64 filters of width 4.

    A code is drawn in training and in evaluation, from torch's global generator. Glorot's uniform initialisation,
    biases 0. Where the frameworks of DeepOBS differ, this is its PyTorch: dropout after the last transposed
    convolution too, and the odd row and column of an even filter cut at the near side.
    """

    def __init__(self, num_latents: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *_layer(nn.Conv2d(1, 64, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)),
            *_layer(nn.Conv2d(64, 64, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)),
            nn.ZeroPad2d((1, 2, 1, 2)),
            *_layer(nn.Conv2d(64, 64, 4), nn.LeakyReLU(SLOPE)),
            nn.Flatten(),
        )
        self.mean = nn.Linear(7 * 7 * 64, num_latents)
        self.twice_log_deviation = nn.Linear(7 * 7 * 64, num_latents)
        self.decoder = nn.Sequential(
            *(nn.Linear(num_latents, 24), nn.LeakyReLU(SLOPE), nn.Linear(24, 49), nn.LeakyReLU(SLOPE)),
            nn.Unflatten(1, (1, 7, 7)),
            *_layer(nn.ConvTranspose2d(1, 64, 4, stride=2, padding=1), nn.ReLU()),
            *_layer(nn.Sequential(nn.ConvTranspose2d(64, 64, 4, padding=1), nn.ZeroPad2d((-1, 0, -1, 0))), nn.ReLU()),
            *_layer(nn.Sequential(nn.ConvTranspose2d(64, 64, 4, padding=1), nn.ZeroPad2d((-1, 0, -1, 0))), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(14 * 14 * 64, 28 * 28), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))),
        )
        filled(self, conv=nn.init.xavier_uniform_, dense=nn.init.xavier_uniform_)

    def forward(self, images: Tensor) -> Drawn:
        features = self.encoder(images)
        mean, log_deviation = self.mean(features), 0.5 * self.twice_log_deviation(features)
        code = mean + torch.randn_like(mean) * log_deviation.exp()
        return Drawn(self.decoder(code), mean, log_deviation)


def _layer(layer: nn.Module, activation: nn.Module) -> tuple[nn.Module, ...]:
    return layer, activation, nn.Dropout(DROPOUT)


def evidence_losses(drawn: Drawn, images: Tensor) -> Tensor:
    """(B,): squared error summed over pixels, plus the divergence of the code from a standard normal, in nats."""
    error = F.mse_loss(drawn.images, images, reduction="none").flatten(1).sum(dim=1)
    mean, log_deviation = drawn.mean, drawn.log_deviation
    divergence = 0.5 * (mean.square() + (2 * log_deviation).exp() - 1 - 2 * log_deviation).sum(dim=1)
    return error + divergence
