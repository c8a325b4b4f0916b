"""All-CNN-C: convolutions all the way, a stride of 2 where others pool (Springenberg et al., arXiv:1412.6806)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from regimen.benchmark.nets.initial import filled


def all_convolutional(num_classes: int) -> nn.Module:
    """For (B, 3, 32, 32), with dropout 0.2 on the input and 0.5 before the two wider stages.

    The paper names no initialisation; as in DeepOBS: Glorot's normal, biases 0.1. Also as there, the last convolution
    has a ReLU before its maps are averaged.
    """
    stages = (
        _stage("1", 0.2, [_conv(3, 96), _conv(96, 96), _halving(96)]),
        _stage("2", 0.5, [_conv(96, 192), _conv(192, 192), _halving(192)]),
        _stage("3", 0.5, [nn.Conv2d(192, 192, 3), nn.Conv2d(192, 192, 1), nn.Conv2d(192, num_classes, 1)]),
    )
    layers = OrderedDict(pair for stage in stages for pair in stage.items())
    net = nn.Sequential(layers | OrderedDict(mean=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten()))
    return filled(net, conv=nn.init.xavier_normal_, dense=nn.init.xavier_uniform_, bias=0.1)


def _conv(inputs: int, filters: int) -> nn.Module:
    return nn.Conv2d(inputs, filters, 3, padding=1)


def _halving(filters: int) -> nn.Module:
    # An even width is padded on the far side alone, as by TensorFlow's "same".
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(filters, filters, 3, stride=2))


def _stage(number: str, dropout: float, convolutions: list[nn.Module]) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict({f"dropout{number}": nn.Dropout(dropout)})
    for place, convolution in enumerate(convolutions, start=1):
        layers |= {f"conv{number}{place}": convolution, f"relu{number}{place}": nn.ReLU()}
    return layers
