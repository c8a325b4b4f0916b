"""Search spaces as plug-ins: what a supernet is made of, and the network of one architecture."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import nn

from regimen.nas.space import Architecture
from regimen.nas.supernet import Supernet


class Inputs(NamedTuple):
    """What networks of a space get and give."""

    channels: int
    height: int
    width: int
    num_classes: int
    """Outputs of the head; the size of the embedding for a criterion that brings its own classes."""


class SearchSpace:
    """The base of search spaces; a plug-in of one file, its annotated class attributes are settings."""

    name: ClassVar[str] = ""

    def make_supernet(self, inputs: Inputs) -> Supernet:
        """All architectures with shared weights, initial values from torch's global generator."""
        raise TypeError(f"{type(self).__name__} has no make_supernet(inputs)")

    def make_network(self, architecture: Architecture, inputs: Inputs) -> nn.Module:
        """One architecture on its own, with fresh weights, to be trained from scratch."""
        raise TypeError(f"{type(self).__name__} has no make_network(architecture, inputs)")
