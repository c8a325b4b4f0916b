"""The test problems of DeepOBS on ImageNet: VGG and Inception, as in its TensorFlow.

A picture's shorter side is 256 pixels; a square of 224 is cut out of its middle square, in training anywhere and
mirrored half the time, else from the middle. Then each picture has its mean taken off and is divided by its deviation.
DeepOBS names neither batch size nor epochs here; ours are those of the papers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.benchmark.augmentation import random_windows
from regimen.benchmark.examples import Examples, Indexed, Splits
from regimen.benchmark.images import ImageProblem
from regimen.benchmark.nets.inception import Guesses, InceptionV3
from regimen.benchmark.nets.vgg import vgg
from regimen.benchmark.problem import Batch
from regimen.benchmark.sources import open_folder

NUM_OUTPUTS = 1001
"""The classes count from 1; no picture has class 0, the background."""
SIDE = 224
OPENED = 256
"""Pixels of the square that a training picture is cut out of."""


class _ImageNet(ImageProblem):
    source = "imagenet"
    shape = (3, SIDE, SIDE)
    num_classes = 1000
    valid_rows = 50_000
    weight_decay = 5e-4

    def read(self) -> Splits:
        return self.splits(*open_folder(self.data_dir, OPENED, OPENED))

    def splits(self, train: Examples, test: Examples) -> Splits:
        made = super().splits(train, test)
        return Splits(made.train, _middle(made.train_eval), _middle(made.valid), _middle(made.test))

    def kept(self, rows: Examples) -> Examples:
        assert isinstance(rows.targets, Tensor)
        return Examples(rows.inputs, rows.targets + 1)

    def transform(self, inputs: Tensor) -> Tensor:
        return _standardised(inputs / 255)

    def augment(self, inputs: Tensor, generator: np.random.Generator) -> Tensor:
        # A picture that was standardised and then cut comes out as one that was cut and then standardised.
        return _standardised(random_windows(inputs, SIDE, generator, mirrored=True))


class ImagenetVgg16(_ImageNet):
    """VGG-16 on ImageNet. The paper trains with Momentum 0.9 at 0.01, a tenth whenever validation stalls."""

    name = "imagenet_vgg16"
    num_epochs = 74
    num_parameters = 138_361_641
    batch_size = 256

    def make_net(self) -> nn.Module:
        return vgg(16, NUM_OUTPUTS)


class ImagenetVgg19(ImagenetVgg16):
    """VGG-19 on ImageNet. The paper trains with Momentum 0.9 at 0.01, a tenth whenever validation stalls."""

    name = "imagenet_vgg19"
    num_parameters = 143_671_337

    def make_net(self) -> nn.Module:
        return vgg(19, NUM_OUTPUTS)


class ImagenetInceptionV3(_ImageNet):
    """Inception version 3 on ImageNet, at 299 x 299 pixels.

    The paper trains with RMSProp (decay 0.9, epsilon 1) at 0.045, times 0.94 every two epochs, gradients clipped at 2.
    Targets are smoothed by 0.1; in training the auxiliary head's loss counts 0.4. The penalty takes convolutions alone.
    """

    name = "imagenet_inception_v3"
    num_epochs = 100
    num_parameters = 27_164_082
    batch_size = 32

    def make_net(self) -> nn.Module:
        return InceptionV3(NUM_OUTPUTS)

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        guesses: Guesses = outputs
        main = F.cross_entropy(guesses.main, batch.targets, reduction="none", label_smoothing=0.1)
        if guesses.auxiliary is None:
            return main
        return main + 0.4 * F.cross_entropy(guesses.auxiliary, batch.targets, reduction="none", label_smoothing=0.1)

    def hits(self, outputs: Any, batch: Batch) -> Tensor | None:
        return super().hits(outputs.main, batch)

    def is_regularized(self, name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim == 4


@dataclass(frozen=True)
class _Middle:
    """The middle of pictures that are larger."""

    whole: Indexed

    def __getitem__(self, rows: Tensor) -> Tensor:
        images = self.whole[rows]
        first = (images.shape[-1] - SIDE) // 2
        return images[..., first : first + SIDE, first : first + SIDE]

    def __len__(self) -> int:
        return len(self.whole)


def _middle(rows: Examples) -> Examples:
    return Examples(_Middle(rows.inputs), rows.targets)


def _standardised(images: Tensor) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    deviation = images.std(dim=(1, 2, 3), correction=0, keepdim=True)
    return (images - mean) / deviation.clamp(min=images[0].numel() ** -0.5)
