"""Character models: the next letter from those before it, in War and Peace and in text of a small grammar."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import nn

from regimen.benchmark.examples import Examples, Splits
from regimen.benchmark.grammar import LETTERS, write
from regimen.benchmark.nets.recurrent import CharNet, begin_as_tensorflow
from regimen.benchmark.sources import fingerprint, read_text
from regimen.benchmark.tokens import TokenProblem
from regimen.errors import DataError
from regimen.errors import Problem as Wrong

LENGTH = 50
"""Letters a row."""
TOLSTOI_LETTERS = 83
GRAMMAR_ROWS = {"train": 1600, "valid": 300, "test": 300}


class TolstoiCharRNN(TokenProblem):
    """Two LSTM layers of 128 on War and Peace, from DeepOBS (Schneider et al., arXiv:1903.05499).

    Architecture, dropout and initial weights are those of its TensorFlow version, the only one released, but for the
    two biases a gate that PyTorch's LSTM has and TensorFlow's has not. The last fifth of the text is the test split,
    the first fifth validates.

    Here every row is a sequence of its own, read from a zero state, in an order that is shuffled each epoch. DeepOBS
    cuts the text into as many streams as a batch has rows and carries the state from batch to batch, so its losses are
    lower by what a letter's more distant past tells, and its batch size changes what is read. The first evaluation is
    near log(83) = 4.419; 300 steps of Adam at 0.003 come to 2.20 on the validation rows. An epoch has 767 steps, about
    40 seconds on one core.
    """

    name = "tolstoi_char_rnn"
    batch_size = 50
    num_epochs = 200
    num_parameters = 285_523

    data_dir: Annotated[
        Path | None, Field(description="folder below which the text is; unset: `data` below the current folder")
    ] = None

    def read(self) -> Splits:
        text = read_text("tolstoi", self.data_dir)
        letters = _by_frequency(text.train + text.test)
        if len(letters) > TOLSTOI_LETTERS:
            found = f"the text has {len(letters)} different characters, and the net has {TOLSTOI_LETTERS}."
            raise DataError(Wrong("task.data_dir", found, "`regimen data fetch tolstoi` gets the right text."))
        valid, rest = text.train[: len(text.test)], text.train[len(text.test) :]
        train = _rows(rest, letters)
        evaluated = train.take(torch.arange(len(text.test) // LENGTH))
        return Splits(train, evaluated, _rows(valid, letters), _rows(text.test, letters))

    def make_net(self) -> nn.Module:
        layers = [nn.LSTM(128, 128, batch_first=True) for _ in range(2)]
        return begin_as_tensorflow(CharNet(TOLSTOI_LETTERS, layers, dropout=0.2))

    def sample(self, rows: int) -> Examples:
        drawn = torch.from_numpy(np.random.default_rng(0).integers(0, TOLSTOI_LETTERS, (rows, LENGTH + 1)))
        return Examples(drawn[:, :-1], drawn[:, 1:])

    def fingerprint(self) -> str:
        both = super().fingerprint() + fingerprint("tolstoi", self.data_dir)
        return hashlib.sha256(both.encode()).hexdigest()


class GrammarCharRNN(TokenProblem):
    """A GRU of 64 on sentences such as `the old dogs that see one bird sleep.`; nothing to download.

    What is left to guess is 0.393 nats a letter for a reader who knows the grammar and where the sentence began; rows
    begin anywhere. Momentum 0.9 at 0.5, `standard`, seed 42: valid loss 0.492 and accuracy 0.812 after 15 epochs, in
    about 7 seconds on one core.
    """

    name = "grammar_char_rnn"
    batch_size = 32
    num_epochs = 15
    num_parameters = 21_532

    def read(self) -> Splits:
        train, valid, test = (
            _rows(write(rows * LENGTH + 1, np.random.default_rng(seed)).text, LETTERS)
            for seed, rows in enumerate(GRAMMAR_ROWS.values())
        )
        return Splits(train, train.take(torch.arange(valid.num_rows)), valid, test)

    def make_net(self) -> nn.Module:
        return CharNet(len(LETTERS), [nn.GRU(32, 64, batch_first=True)])

    def sample(self, rows: int) -> Examples:
        return _rows(write(rows * LENGTH + 1, np.random.default_rng(3)).text, LETTERS)

    def fingerprint(self) -> str:
        page = write(10_000, np.random.default_rng(0)).text  # changes with the grammar, which is in another file
        return hashlib.sha256((super().fingerprint() + page).encode()).hexdigest()


def _by_frequency(text: str) -> str:
    """The characters of a text, the most frequent first, as DeepOBS numbers them."""
    return "".join(letter for letter, _ in Counter(text).most_common())


def _rows(text: str, letters: str) -> Examples:
    """The text cut into rows of `LENGTH` letters (what is left over is not used), and of each the letter after it."""
    number = {letter: place for place, letter in enumerate(letters)}
    numbers = torch.tensor([number[letter] for letter in text])
    count = (len(numbers) - 1) // LENGTH * LENGTH
    return Examples(numbers[:count].view(-1, LENGTH), numbers[1 : count + 1].view(-1, LENGTH))
