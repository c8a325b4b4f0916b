"""VGG: five stages of convolutions of width 3, then two wide dense layers (Simonyan and Zisserman, arXiv:1409.1556)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

from regimen.benchmark.nets.initial import filled

FILTERS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Of each stage, by the number of layers with weights."""


def vgg(depth: Literal[16, 19], num_classes: int) -> nn.Module:
    """For (B, 3, H, W), which are resized to 224 x 224 first (bilinear, corners kept, as in DeepOBS' PyTorch).

    Glorot's initialisation, normal for convolutions and uniform for dense layers; biases 0; dropout 0.5 between the
    dense layers. No batch normalisation, as in the paper.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(resize=nn.UpsamplingBilinear2d(size=(224, 224)))
    channels = 3
    for stage, (filters, num_convolutions) in enumerate(zip(FILTERS, CONVOLUTIONS[depth], strict=True), start=1):
        for place in range(1, num_convolutions + 1):
            layers[f"conv{stage}{place}"] = nn.Conv2d(channels, filters, 3, padding=1)
            layers[f"relu{stage}{place}"] = nn.ReLU()
            channels = filters
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers |= OrderedDict(
        flatten=nn.Flatten(),
        dense1=nn.Linear(7 * 7 * 512, 4096),
        relu1=nn.ReLU(),
        dropout1=nn.Dropout(0.5),
        dense2=nn.Linear(4096, 4096),
        relu2=nn.ReLU(),
        dropout2=nn.Dropout(0.5),
        dense3=nn.Linear(4096, num_classes),
    )
    return filled(nn.Sequential(layers), conv=nn.init.xavier_normal_, dense=nn.init.xavier_uniform_)
