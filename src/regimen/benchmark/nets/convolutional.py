"""Plain convolutional nets of DeepOBS: a few convolutions with pooling, then dense layers.

A pooling of width 3 and stride 2 rounds its output up, which equals TensorFlow's padding "same" for these sizes.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from regimen.benchmark.nets.initial import filled, truncated_normal


def two_conv_two_dense(num_classes: int) -> nn.Module:
    """2c2d, for (B, 1, 28, 28): convolutions of 32 and 64 filters of width 5, each with ReLU and pooling, 1024 units.

    Weights from a truncated normal of deviation 0.05, biases 0.05.
    """
    net = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 32, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 5, padding=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dense1=nn.Linear(7 * 7 * 64, 1024),
            relu3=nn.ReLU(),
            dense2=nn.Linear(1024, num_classes),
        )
    )
    weights = truncated_normal(0.05)
    return filled(net, conv=weights, dense=weights, bias=0.05)


def three_conv_three_dense(num_classes: int) -> nn.Module:
    """3c3d, for (B, 3, 32, 32): convolutions of 64, 96 and 128 filters, each with ReLU and pooling, 512 and 256 units.

    Glorot's initialisation, normal for convolutions and uniform for dense layers; biases 0.
    """
    net = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 64, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(3, 2, ceil_mode=True),
            conv2=nn.Conv2d(64, 96, 3),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(3, 2, ceil_mode=True),
            conv3=nn.Conv2d(96, 128, 3, padding=1),
            relu3=nn.ReLU(),
            pool3=nn.MaxPool2d(3, 2, ceil_mode=True),
            flatten=nn.Flatten(),
            dense1=nn.Linear(3 * 3 * 128, 512),
            relu4=nn.ReLU(),
            dense2=nn.Linear(512, 256),
            relu5=nn.ReLU(),
            dense3=nn.Linear(256, num_classes),
        )
    )
    return filled(net, conv=nn.init.xavier_normal_, dense=nn.init.xavier_uniform_)
