"""Small handwritten digits that come with scikit-learn: nothing to download, and an epoch takes a fraction of a second.

1,797 pictures of 8 x 8 with values 0 to 16 (Alpaydin and Kaynak 1998, the test part of the UCI set), here divided by
16: 1,200 to train on, 237 to validate, 360 to test, always the same; by chance those that test are harder. Weights
begin as PyTorch's layers do by default. The numbers of each problem come from `standard`, seed 42, and its own epochs,
one to three seconds on one core.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.benchmark.examples import SPLIT_SEED, Examples, Splits
from regimen.benchmark.problem import Batch, Problem
from regimen.errors import MissingExtra
from regimen.errors import Problem as Wrong

SIDE = 8
TEST_ROWS, VALID_ROWS = 360, 237


class _Digits(Problem):
    """What the four have in common. Inputs are (B, 1, 8, 8) in [0, 1]."""

    batch_size = 32

    def read(self) -> Splits:
        everything = _pictures()
        # Not the generator of the split below, which would pick the same places again.
        order = torch.from_numpy(np.random.default_rng(SPLIT_SEED + 1).permutation(everything.num_rows))
        test, rest = everything.take(order[:TEST_ROWS]), everything.take(order[TEST_ROWS:])
        return Splits.made(rest, test, valid_rows=VALID_ROWS)

    def sample(self, rows: int) -> Examples:
        pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 17, (rows, 1, SIDE, SIDE)))
        return Examples(pictures.float() / 16, torch.arange(rows) % 10)


class DigitsLogreg(_Digits):
    """Logistic regression on the pixels, from zero weights: a convex problem.

    Momentum 0.9 at 0.1: valid loss 0.105 and accuracy 0.979, test 0.170 and 0.956.
    """

    name = "digits_logreg"
    num_epochs = 20
    num_parameters = 650

    def make_net(self) -> nn.Module:
        linear = nn.Linear(SIDE * SIDE, 10)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        return nn.Sequential(nn.Flatten(), linear)


class DigitsMLP(_Digits):
    """Two hidden layers of 64 with ReLU.

    Momentum 0.9 at 0.1: valid loss 0.017 and accuracy 0.992, test 0.121 and 0.967.
    """

    name = "digits_mlp"
    num_epochs = 20
    num_parameters = 8_970

    def make_net(self) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )


class DigitsCNN(_Digits):
    """Two convolutions of 3 x 3 with pooling, then one hidden layer.

    Adam at 0.003: valid loss 0.031 and accuracy 0.983, test 0.097 and 0.983. SGD at 0.1: valid 0.074 and 0.975.
    """

    name = "digits_cnn"
    num_epochs = 20
    num_parameters = 13_706

    def make_net(self) -> nn.Module:
        return nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
        )


class DigitsVAE(_Digits):
    """A variational autoencoder with 4 latent numbers (Kingma and Welling, arXiv:1312.6114); no accuracy.

    The loss of a row is the negative evidence bound in nats, with one draw of the latent numbers: cross-entropy of the
    64 pixels, read as the probability that the pixel is set, plus the divergence from a standard normal. Adam at 0.003:
    45.3 before training, then valid 24.65, test 24.48.
    """

    name = "digits_vae"
    num_epochs = 50
    num_parameters = 9_160

    def make_net(self) -> nn.Module:
        return Autoencoder()

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        coded: Coded = outputs
        pixels_BP = batch.inputs.flatten(1)
        unlike_B = F.binary_cross_entropy_with_logits(coded.logits_BP, pixels_BP, reduction="none").sum(dim=1)
        divergence_BZ = coded.log_variance_BZ.exp() + coded.mean_BZ**2 - 1 - coded.log_variance_BZ
        return unlike_B + 0.5 * divergence_BZ.sum(dim=1)

    def hits(self, outputs: Any, batch: Batch) -> Tensor | None:
        return None


class Coded(NamedTuple):
    """What the autoencoder makes of B pictures of P pixels, with Z latent numbers."""

    logits_BP: Tensor
    mean_BZ: Tensor
    log_variance_BZ: Tensor


class Autoencoder(nn.Module):
    """One hidden layer of 64 on either side of the latent numbers."""

    def __init__(self, latent: int = 4, hidden: int = 64) -> None:
        super().__init__()
        pixels = SIDE * SIDE
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, pictures: Tensor) -> Coded:
        mean_BZ, log_variance_BZ = self.encoder(pictures).chunk(2, dim=1)
        drawn_BZ = mean_BZ + (0.5 * log_variance_BZ).exp() * torch.randn_like(mean_BZ)
        return Coded(self.decoder(drawn_BZ), mean_BZ, log_variance_BZ)


def _pictures() -> Examples:
    """All 1,797. Raises `MissingExtra` without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        text = "needs scikit-learn, which brings the pictures."
        raise MissingExtra(Wrong("task digits", text, "pip install 'regimen-ml[bench]'")) from error
    found = load_digits()
    pictures = torch.from_numpy(found.images.astype(np.float32)).unsqueeze(1) / 16
    return Examples(pictures, torch.from_numpy(found.target.astype(np.int64)))
