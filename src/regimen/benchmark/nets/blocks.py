"""A transformer of one block that reads token ids (Vaswani et al., arXiv:1706.03762; normalised before each part).

B rows, T tokens a row, V tokens in the vocabulary, H the width, N heads of D numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class OneBlock(nn.Module):
    """Learned embeddings of tokens and places, one causal block, a linear layer: (B, T) ids to (B, T, V) logits.

    Embeddings begin normal with a standard deviation of 0.02 (Radford et al. 2019), linear layers as PyTorch's do.
    """

    def __init__(self, vocabulary: int, length: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        for embedding in (self.tokens, self.places):
            nn.init.normal_(embedding.weight, std=0.02)
        self.block = Block(width, num_heads)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids_BT: Tensor) -> Tensor:
        places_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        hidden_BTH = self.block(self.tokens(ids_BT) + self.places(places_T))
        logits_BTV: Tensor = self.head(self.norm(hidden_BTH))
        return logits_BTV


class Block(nn.Module):
    """Causal attention, then two linear layers with GELU between them; each is added to what it read."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        assert width % num_heads == 0, "heads divide the width"
        self.num_heads = num_heads
        self.attention_norm, self.linear_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.linear = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, hidden_BTH: Tensor) -> Tensor:
        hidden_BTH = hidden_BTH + self._attended(self.attention_norm(hidden_BTH))
        added_BTH: Tensor = self.linear(self.linear_norm(hidden_BTH))
        return hidden_BTH + added_BTH

    def _attended(self, hidden_BTH: Tensor) -> Tensor:
        rows, length, width = hidden_BTH.shape
        parts = self.query_key_value(hidden_BTH).view(rows, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts  # each (B, N, T, D)
        found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed_BTH: Tensor = self.mixed(found.transpose(1, 2).reshape(rows, length, width))
        return mixed_BTH
