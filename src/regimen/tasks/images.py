"""The test problems of DeepOBS on MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100 and SVHN (Schneider et al.,
arXiv:1903.05499).

Nets, initial weights and losses are those of DeepOBS 1.2 in PyTorch, or of its development line where the release has a
problem in TensorFlow alone. Batch sizes and numbers of epochs are its own where it has any, and said where not. Its
problems without a penalty ignore a weight decay; ours apply the one that is set.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regimen.benchmark.augmentation import Jitter, colours_jittered, random_windows
from regimen.benchmark.examples import Examples
from regimen.benchmark.images import ImageProblem
from regimen.benchmark.nets.all_convolutional import all_convolutional
from regimen.benchmark.nets.autoencoder import VariationalAutoencoder, evidence_losses
from regimen.benchmark.nets.convolutional import three_conv_three_dense, two_conv_two_dense
from regimen.benchmark.nets.dense import logistic_regression, perceptron
from regimen.benchmark.nets.vgg import vgg
from regimen.benchmark.nets.wide_residual import WideResidual
from regimen.benchmark.problem import Batch

# ---------------------------------------------------------------------- MNIST and Fashion-MNIST


class _Grey(ImageProblem):
    """28 x 28 pixels in [0, 1], kept as floats: so small that to pick rows is most of what a batch costs."""

    source = "mnist"
    shape = (1, 28, 28)

    def kept(self, rows: Examples) -> Examples:
        assert isinstance(rows.inputs, Tensor)
        return Examples(rows.inputs / 255, rows.targets)


class MnistLogreg(_Grey):
    """Logistic regression on MNIST, from weights of 0."""

    name = "mnist_logreg"
    num_epochs = 50
    num_parameters = 7_850

    def make_net(self) -> nn.Module:
        return logistic_regression(784, 10)


class FmnistLogreg(MnistLogreg):
    """Logistic regression on Fashion-MNIST, from weights of 0; the number of epochs is that of mnist_logreg."""

    name = "fmnist_logreg"
    source = "fmnist"


class MnistMlp(_Grey):
    """A perceptron with hidden layers of 1000, 500 and 100 units on MNIST."""

    name = "mnist_mlp"
    num_epochs = 100
    num_parameters = 1_336_610

    def make_net(self) -> nn.Module:
        return perceptron(784, 10)


class FmnistMlp(MnistMlp):
    """A perceptron with hidden layers of 1000, 500 and 100 units on Fashion-MNIST."""

    name = "fmnist_mlp"
    source = "fmnist"


class Mnist2c2d(_Grey):
    """Two convolutions and two dense layers on MNIST."""

    name = "mnist_2c2d"
    num_epochs = 100
    num_parameters = 3_274_634

    def make_net(self) -> nn.Module:
        return two_conv_two_dense(10)


class Fmnist2c2d(Mnist2c2d):
    """Two convolutions and two dense layers on Fashion-MNIST."""

    name = "fmnist_2c2d"
    source = "fmnist"


class MnistVae(_Grey):
    """A variational autoencoder with 8 latents on MNIST; its loss is in squared error plus nats, without accuracy."""

    name = "mnist_vae"
    num_epochs = 50
    num_parameters = 10_151_489
    batch_size = 64

    def kept(self, rows: Examples) -> Examples:
        images = super().kept(rows).inputs
        return Examples(images, images)

    def make_net(self) -> nn.Module:
        return VariationalAutoencoder(num_latents=8)

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        return evidence_losses(outputs, batch.targets)

    def hits(self, outputs: Any, batch: Batch) -> Tensor | None:
        return None


class FmnistVae(MnistVae):
    """A variational autoencoder with 8 latents on Fashion-MNIST, without accuracy."""

    name = "fmnist_vae"
    source = "fmnist"
    num_epochs = 100


# ---------------------------------------------------------------------- CIFAR and SVHN


class _Colour(ImageProblem):
    """32 x 32 pixels in colour, each channel less its mean over its deviation; kept as bytes.

    Training pictures are moved by up to two pixels over black, mirrored at random, and jittered in colour.
    """

    shape = (3, 32, 32)
    mean: ClassVar[tuple[float, float, float]]
    deviation: ClassVar[tuple[float, float, float]]
    is_mirrored: ClassVar[bool]
    jitter: ClassVar = Jitter(brightness=(1 - 63 / 255, 1 + 63 / 255), contrast=(0.2, 1.8), saturation=(0.5, 1.5))

    def transform(self, inputs: Tensor) -> Tensor:
        return self._standardised(inputs / 255)

    def augment(self, inputs: Tensor, generator: np.random.Generator) -> Tensor:
        pixels = inputs * _channels(self.deviation, inputs) + _channels(self.mean, inputs)
        moved = random_windows(F.pad(pixels, (2, 2, 2, 2)), 32, generator, mirrored=self.is_mirrored)
        return self._standardised(colours_jittered(moved, self.jitter, generator))

    def _standardised(self, images: Tensor) -> Tensor:
        return (images - _channels(self.mean, images)) / _channels(self.deviation, images)


def _channels(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(-1, 1, 1)


class _Cifar10(_Colour):
    source = "cifar10"
    mean = (0.49139968, 0.48215841, 0.44653091)
    deviation = (0.24703223, 0.24348513, 0.26158784)
    is_mirrored = True


class _Cifar100(_Colour):
    source = "cifar100"
    num_classes = 100
    mean = (0.50707516, 0.48654887, 0.44091784)
    deviation = (0.26733429, 0.25643846, 0.27615047)
    is_mirrored = True


class _HouseNumbers(_Colour):
    source = "svhn"
    valid_rows = 26_032
    mean = (0.4376821, 0.4437697, 0.47280442)
    deviation = (0.19803012, 0.20101562, 0.19703614)
    is_mirrored = False


class _With3c3d(_Colour):
    num_epochs = 100
    weight_decay = 0.002

    def make_net(self) -> nn.Module:
        return three_conv_three_dense(self.num_classes)


class Cifar10With3c3d(_Cifar10, _With3c3d):
    """Three convolutions and three dense layers on CIFAR-10; SGD at 0.01 is a setting that works."""

    name = "cifar10_3c3d"
    num_parameters = 895_210


class Cifar100With3c3d(_Cifar100, _With3c3d):
    """Three convolutions and three dense layers on CIFAR-100; epochs as for cifar10_3c3d."""

    name = "cifar100_3c3d"
    num_parameters = 918_340


class SvhnWith3c3d(_HouseNumbers, _With3c3d):
    """Three convolutions and three dense layers on SVHN; epochs as for cifar10_3c3d."""

    name = "svhn_3c3d"
    num_parameters = 895_210


class Cifar100Allcnnc(_Cifar100):
    """All-CNN-C on CIFAR-100. The paper trains with Momentum 0.9 at 0.05, a tenth after 200, 250 and 300 epochs."""

    name = "cifar100_allcnnc"
    num_epochs = 350
    num_parameters = 1_387_108
    batch_size = 256
    weight_decay = 5e-4

    def make_net(self) -> nn.Module:
        return all_convolutional(self.num_classes)


class _WideResidual(_Colour):
    num_epochs = 160
    weight_decay = 5e-4
    num_blocks: ClassVar = 2
    """In each of the three groups."""

    def make_net(self) -> nn.Module:
        return WideResidual(self.num_blocks, 4, self.num_classes)

    def is_regularized(self, name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim > 1  # no weight of a batch normalisation


class SvhnWrn164(_HouseNumbers, _WideResidual):
    """Wide ResNet 16-4 on SVHN. The paper trains with Momentum 0.9 at 0.01, a tenth after 80 and 120 epochs."""

    name = "svhn_wrn164"
    num_parameters = 2_748_890


class Cifar100Wrn164(_Cifar100, _WideResidual):
    """Wide ResNet 16-4 on CIFAR-100; epochs as for svhn_wrn164."""

    name = "cifar100_wrn164"
    num_parameters = 2_772_020


class Cifar100Wrn404(_Cifar100, _WideResidual):
    """Wide ResNet 40-4 on CIFAR-100. The paper trains with Momentum 0.9 at 0.1, a fifth after 60, 120, 160 epochs."""

    name = "cifar100_wrn404"
    num_epochs = 200
    num_parameters = 8_972_340
    num_blocks = 6


class _Vgg(_Colour):
    num_epochs = 100
    weight_decay = 5e-4
    depth: ClassVar[Literal[16, 19]]

    def make_net(self) -> nn.Module:
        return vgg(self.depth, self.num_classes)


class Cifar10Vgg16(_Cifar10, _Vgg):
    """VGG-16 on CIFAR-10 at 224 x 224 pixels; DeepOBS names no epochs, ours are those of cifar10_3c3d."""

    name = "cifar10_vgg16"
    depth = 16
    num_parameters = 134_301_514


class Cifar10Vgg19(_Cifar10, _Vgg):
    """VGG-19 on CIFAR-10 at 224 x 224 pixels; DeepOBS names no epochs, ours are those of cifar10_3c3d."""

    name = "cifar10_vgg19"
    depth = 19
    num_parameters = 139_611_210


class Cifar100Vgg16(_Cifar100, _Vgg):
    """VGG-16 on CIFAR-100 at 224 x 224 pixels; DeepOBS names no epochs, ours are those of cifar10_3c3d."""

    name = "cifar100_vgg16"
    depth = 16
    num_parameters = 134_670_244


class Cifar100Vgg19(_Cifar100, _Vgg):
    """VGG-19 on CIFAR-100 at 224 x 224 pixels; DeepOBS names no epochs, ours are those of cifar10_3c3d."""

    name = "cifar100_vgg19"
    depth = 19
    num_parameters = 139_979_940
