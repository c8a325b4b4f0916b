"""Nets of dense layers: logistic regression and a perceptron with three hidden layers."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from regimen.benchmark.nets.initial import filled, truncated_normal


def logistic_regression(num_inputs: int, num_classes: int) -> nn.Module:
    """One dense layer; all of it 0 at first, so that a problem with it is convex and its start is no draw."""
    net = nn.Sequential(OrderedDict(flatten=nn.Flatten(), dense=nn.Linear(num_inputs, num_classes)))
    return filled(net, conv=nn.init.zeros_, dense=nn.init.zeros_)


def perceptron(num_inputs: int, num_classes: int) -> nn.Module:
    """1000, 500 and 100 hidden units with ReLU; weights from a truncated normal of deviation 0.03, biases 0."""
    net = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            dense1=nn.Linear(num_inputs, 1000),
            relu1=nn.ReLU(),
            dense2=nn.Linear(1000, 500),
            relu2=nn.ReLU(),
            dense3=nn.Linear(500, 100),
            relu3=nn.ReLU(),
            dense4=nn.Linear(100, num_classes),
        )
    )
    weights = truncated_normal(0.03)
    return filled(net, conv=weights, dense=weights)
