"""Pictures for architecture search: scikit-learn's digits, made harder, and the files of Fashion-MNIST and CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from regimen.errors import MissingExtra, Problem
from regimen.nas.images import Pictures, PictureSplits
from regimen.nas.supernettask import SupernetTask
from regimen.randomness import derived_generator

NOISE = 0.25
"""Standard deviation of what is added to the digits, whose own lie between 0 and 1."""
_SPLIT_SEED = 42


class Digits(SupernetTask):
    """Handwritten digits of 8 x 8 points, moved by up to one point and with noise: 900 train, 300 compare, 597 judge.

    scikit-learn brings them (UCI's optical recognition of handwritten digits); nothing is downloaded. Without noise and
    moves all networks of a small space are as good as each other.
    """

    name = "digits"
    num_epochs = 20

    def read(self) -> PictureSplits:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            fix = "pip install 'regimen-ml[nas]'"
            raise MissingExtra(Problem("task digits", "the pictures come with scikit-learn.", fix)) from error
        data = load_digits()
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(data.target))
        inputs = torch.from_numpy(data.images[order] / 16).float()[:, None]
        classes = torch.from_numpy(data.target[order]).long()
        parts = [
            Pictures(i, c) for i, c in zip(inputs.split([900, 300, 597]), classes.split([900, 300, 597]), strict=True)
        ]
        # What is compared and judged is as hard as what is trained on, and always the same.
        held = [
            Pictures(self.augment(part.inputs, derived_generator(_SPLIT_SEED, "digits", number)), part.classes)
            for number, part in enumerate(parts[1:])
        ]
        return PictureSplits(parts[0], *held)

    def augment(self, inputs: Tensor, generator: np.random.Generator) -> Tensor:
        return moved(inputs, 1, generator) + NOISE * _normal(inputs, generator)


class FashionMNIST(SupernetTask):
    """Zalando's pictures of clothes (arXiv:1708.07747), 28 x 28: 50,000 train, 10,000 compare, 10,000 judge."""

    name = "fashion_mnist"
    num_epochs = 10

    data_dir: Annotated[Path | None, Field(description="folder of the files; unset: `data`")] = None
    train_rows: Annotated[int, Field(ge=100, le=50_000, description="only so many of the training pictures")] = 50_000
    valid_rows: Annotated[int, Field(ge=100, le=10_000, description="pictures that architectures are compared on")] = (
        10_000
    )

    source = "fmnist"

    def read(self) -> PictureSplits:
        from regimen.benchmark.sources import read_images

        raw = read_images(self.source, self.data_dir)
        order = torch.from_numpy(np.random.default_rng(_SPLIT_SEED).permutation(len(raw.train_targets)))
        pictures = _standardised(raw.train_inputs, raw.train_inputs)
        held, rest = order[: self.valid_rows], order[10_000 : 10_000 + self.train_rows]
        return PictureSplits(
            Pictures(pictures[rest], raw.train_targets[rest]),
            Pictures(pictures[held], raw.train_targets[held]),
            Pictures(_standardised(raw.test_inputs, raw.train_inputs), raw.test_targets),
        )

    def fingerprint(self) -> str:
        from regimen.benchmark.sources import fingerprint

        return fingerprint(self.source, self.data_dir)


class CIFAR10(FashionMNIST):
    """CIFAR-10 (Krizhevsky, 2009), 32 x 32, cut at random and mirrored in training."""

    name = "cifar10"
    num_epochs = 100
    source = "cifar10"
    train_rows: Annotated[int, Field(ge=100, le=40_000, description="only so many of the training pictures")] = 40_000

    def augment(self, inputs: Tensor, generator: np.random.Generator) -> Tensor:
        mirrored = torch.from_numpy(generator.random(len(inputs)) < 0.5).to(inputs.device)
        inputs = torch.where(mirrored[:, None, None, None], inputs.flip(3), inputs)
        return moved(inputs, 4, generator)


def moved(inputs: Tensor, most: int, generator: np.random.Generator) -> Tensor:
    """Each picture of (B, C, H, W) moved by up to `most` points each way, filled with zeros."""
    rows, _, height, width = inputs.shape
    padded = F.pad(inputs, (most,) * 4)
    down, right = (torch.from_numpy(generator.integers(0, 2 * most + 1, rows)) for _ in range(2))
    y = (down[:, None] + torch.arange(height))[:, None, :, None]
    x = (right[:, None] + torch.arange(width))[:, None, None, :]
    channels = torch.arange(inputs.shape[1])[None, :, None, None]
    return padded[torch.arange(rows)[:, None, None, None], channels, y, x]


def _normal(inputs: Tensor, generator: np.random.Generator) -> Tensor:
    return torch.from_numpy(generator.standard_normal(tuple(inputs.shape), dtype=np.float32)).to(inputs.device)


def _standardised(pictures: Tensor, train: Tensor) -> Tensor:
    """Bytes (N, C, H, W) as floats of mean 0 and deviation 1 for each channel of the training pictures."""
    sample = train[:5000].float()
    mean, std = sample.mean(dim=(0, 2, 3), keepdim=True), sample.std(dim=(0, 2, 3), keepdim=True)
    return (pictures.float() - mean) / std
