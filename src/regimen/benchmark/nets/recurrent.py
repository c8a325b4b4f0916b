"""Recurrent nets that read characters and predict the next one.

B rows, T characters a row, V characters in the alphabet, H the width. The state is zero at the start of every row.
"""

from __future__ import annotations

from torch import Tensor, nn


class CharNet(nn.Module):
    """Embedding, recurrent layers, a linear layer: (B, T) character numbers to (B, T, V) logits.

    Each layer's inputs and outputs are dropped with probability `dropout`, as DeepOBS wraps its cells; between two
    layers that makes two masks.
    """

    def __init__(self, num_characters: int, layers: list[nn.LSTM] | list[nn.GRU], dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_characters, layers[0].input_size)
        self.layers = nn.ModuleList(layers)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(layers[-1].hidden_size, num_characters)

    def forward(self, characters_BT: Tensor) -> Tensor:
        hidden_BTH: Tensor = self.embedding(characters_BT)
        for layer in self.layers:
            hidden_BTH = self.dropout(layer(self.dropout(hidden_BTH))[0])
        logits_BTV: Tensor = self.head(hidden_BTH)
        return logits_BTV


def begin_as_tensorflow(net: CharNet) -> CharNet:
    """Gives a net of LSTM layers the initial weights of DeepOBS' TensorFlow 1 cells, and returns it.

    All are uniform in Glorot's range (Glorot and Bengio 2010) but the layers' biases: 0, and 1 for the forget gate.
    TensorFlow draws one matrix (inputs + H, 4H) for inputs and state together, whose shape gives the range of both.
    """
    nn.init.xavier_uniform_(net.embedding.weight)
    nn.init.xavier_uniform_(net.head.weight)
    limit = (3 / len(net.head.bias)) ** 0.5  # Glorot's for a vector, whose two fans are its length
    nn.init.uniform_(net.head.bias, -limit, limit)
    for layer in net.layers:
        assert isinstance(layer, nn.LSTM), "only LSTM layers have a forget gate"
        limit = (6 / (layer.input_size + 5 * layer.hidden_size)) ** 0.5
        for name, parameter in layer.named_parameters():
            if name.startswith("weight"):
                nn.init.uniform_(parameter, -limit, limit)
            else:
                nn.init.zeros_(parameter)
            if name == "bias_ih_l0":  # the gates in PyTorch's order: input, forget, cell, output
                nn.init.ones_(parameter.data.view(4, -1)[1])
    return net
