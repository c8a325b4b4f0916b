"""A vision transformer whose smaller widths are slices of its largest weights, as AutoFormer trains it (Chen et al.,
arXiv:2107.00651: weight entanglement).

A module is made at its largest size and computes at any smaller one: the width is that of the inputs, the rest is
passed. A network of one architecture is the same module made at that size. Without relative positions and without
dropout, both of which AutoFormer has.

Axes: B rows, T tokens (class token first), E width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Encoding(NamedTuple):
    """The sizes of one layer."""

    heads: int
    hidden: int
    """Width inside the MLP."""


def sliced(layer: nn.Linear, inputs: Tensor, width: int) -> Tensor:
    """The first `width` outputs, from as many inputs as there are."""
    return F.linear(inputs, layer.weight[:width, : inputs.shape[-1]], layer.bias[:width])


def sliced_norm(norm: nn.LayerNorm, inputs: Tensor) -> Tensor:
    """Layer norm over the width that the inputs have."""
    width = inputs.shape[-1]
    return F.layer_norm(inputs, (width,), norm.weight[:width], norm.bias[:width], norm.eps)


class Embedding(nn.Module):
    """Pictures (B, C, H, W) to tokens (B, T, E): patches, a class token, learned positions."""

    def __init__(self, channels: int, patch: int, num_patches: int, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, num_patches + 1, width))

    def forward(self, inputs: Tensor, width: int | None = None) -> Tensor:
        made = self.patches
        assert made.bias is not None
        weight, bias = made.weight[:width], made.bias[:width]
        patches_BTE = F.conv2d(inputs, weight, bias, made.stride).flatten(2).transpose(1, 2)
        token = self.class_token[..., :width].expand(len(inputs), -1, -1)
        tokens_BTE = torch.cat([token, patches_BTE], dim=1)
        result: Tensor = tokens_BTE + self.positions[..., :width]
        return result


class Attention(nn.Module):
    """Tokens (B, T, E) plus what they attend to, normalized first; at most `heads` heads."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, heads * head_width) for _ in range(3))
        self.out = nn.Linear(heads * head_width, width)

    def forward(self, tokens_BTE: Tensor, heads: int | None = None) -> Tensor:
        normed_BTE = sliced_norm(self.norm, tokens_BTE)
        query, key, value = (self._split(layer, normed_BTE, heads) for layer in (self.query, self.key, self.value))
        scores = (query @ key.transpose(-2, -1) * self.head_width**-0.5).softmax(dim=-1)
        joined: Tensor = (scores @ value).transpose(1, 2).flatten(2)
        return tokens_BTE + sliced(self.out, joined, tokens_BTE.shape[-1])

    def _split(self, layer: nn.Linear, tokens_BTE: Tensor, heads: int | None) -> Tensor:
        found = heads or self.heads
        batch, tokens, _ = tokens_BTE.shape
        projected = sliced(layer, tokens_BTE, found * self.head_width)
        return projected.view(batch, tokens, found, self.head_width).transpose(1, 2)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


class MLP(nn.Module):
    """Tokens (B, T, E) plus what two layers make of each, normalized first; at most `hidden` wide between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, tokens_BTE: Tensor, hidden: int | None = None) -> Tensor:
        wide = F.gelu(sliced(self.widen, sliced_norm(self.norm, tokens_BTE), hidden or self.widen.out_features))
        return tokens_BTE + sliced(self.narrow, wide, tokens_BTE.shape[-1])


class Layer(nn.Module):
    """Attention, then the MLP, at sizes up to those it was made for."""

    def __init__(self, width: int, sizes: Encoding, head_width: int) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(width, sizes.heads, head_width), MLP(width, sizes.hidden)

    def forward(self, tokens_BTE: Tensor, sizes: Encoding | None = None) -> Tensor:
        heads, hidden = sizes or (None, None)
        outputs: Tensor = self.mlp(self.attention(tokens_BTE, heads), hidden)
        return outputs


class Classifier(nn.Module):
    """The class token, normalized, to (B, num_classes)."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, num_classes)

    def forward(self, tokens_BTE: Tensor) -> Tensor:
        return sliced(self.linear, sliced_norm(self.norm, tokens_BTE[:, 0]), self.linear.out_features)


class Sized(nn.Module):
    """A module at fixed sizes, sharing its weights."""

    def __init__(self, module: nn.Module, sizes: int | Encoding) -> None:
        super().__init__()
        self.module, self.sizes = module, sizes

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.module(inputs, self.sizes)
        return outputs

    def extra_repr(self) -> str:
        return f"sizes={self.sizes}"


def initialize_transformer(net: nn.Module) -> None:
    """Weights, class token and positions normal, 0.02 wide and cut at 2, as vision transformers begin; biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=0.02)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        elif isinstance(module, Embedding):
            nn.init.trunc_normal_(module.class_token, std=0.02)
            nn.init.trunc_normal_(module.positions, std=0.02)
