"""Batches that hold several rows of each of some classes: what triplets are found in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from regimen.errors import DataError, Problem
from regimen.randomness import derived_generator


class ClassBatches:
    """The rows of each batch of an epoch, as `regimen.loading.Loader` wants its `order`: a function of (seed, epoch).

    A batch is `batch_size // rows_of_a_class` classes with `rows_of_a_class` rows each (Hermans et al.,
    arXiv:1703.07737). The rows of a class are dealt out in a shuffled order, and groups of them to batches of different
    classes, as far as there are any left; a class with fewer rows than a group repeats some. What fills no whole batch
    at an epoch's end is left out, and is as likely as any other to come in the next.

    Raises `DataError` where fewer than two classes have two rows or more.
    """

    def __init__(self, targets: ArrayLike, *, batch_size: int, rows_of_a_class: int, seed: int) -> None:
        self.seed, self.rows_of_a_class = seed, rows_of_a_class
        targets_N = np.asarray(targets, dtype=np.int64)
        rows = [np.flatnonzero(targets_N == number) for number in np.unique(targets_N)]
        self.classes = [of_class for of_class in rows if len(of_class) > 1]
        if len(self.classes) < 2:
            text = f"{len(self.classes)} classes have two rows or more."
            raise DataError(Problem("rows to train on", text, "Triplets need two such classes at least."))
        self.classes_of_a_batch = min(max(2, batch_size // rows_of_a_class), len(self.classes))
        groups = sum(-(-len(of_class) // rows_of_a_class) for of_class in self.classes)
        self.num_batches = max(1, groups // self.classes_of_a_batch)

    def __call__(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of an epoch, from 0."""
        generator = derived_generator(self.seed, "class batches", epoch)
        left = [self._groups(of_class, generator) for of_class in self.classes]
        batches: list[NDArray[np.int64]] = []
        for _ in range(self.num_batches):
            # Classes with most groups left first, ties at random: else the last batches would lack classes.
            order = sorted(range(len(left)), key=lambda number: (-len(left[number]), generator.random()))
            chosen = order[: self.classes_of_a_batch]
            for number in chosen:
                if not left[number]:
                    left[number] = self._groups(self.classes[number], generator)
            batches.append(np.concatenate([left[number].pop() for number in chosen]))
        return [batches[number] for number in generator.permutation(len(batches))]

    def _groups(self, rows: NDArray[np.int64], generator: np.random.Generator) -> list[NDArray[np.int64]]:
        shuffled = generator.permutation(rows)
        missing = -len(shuffled) % self.rows_of_a_class
        filled = np.concatenate([shuffled, np.resize(shuffled, missing)])
        return [np.asarray(group) for group in filled.reshape(-1, self.rows_of_a_class)]
