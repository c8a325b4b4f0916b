"""What all test problems on pictures from files share: where the files are, and how they become splits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from regimen.benchmark.examples import Examples, Splits
from regimen.benchmark.problem import Problem
from regimen.benchmark.sources import fingerprint, read_images


class ImageProblem(Problem):
    """The base of problems on pictures. A subclass gives `source`, and what every problem gives but `read`.

    The rows that validate are as many as those that test, as in DeepOBS.
    """

    source: ClassVar[str]
    """Of the catalogue: mnist, fmnist, cifar10, cifar100, svhn or imagenet."""
    shape: ClassVar[tuple[int, int, int]]
    """Channels, height and width of a picture."""
    num_classes: ClassVar[int] = 10
    valid_rows: ClassVar[int] = 10_000

    data_dir: Annotated[
        Path | None, Field(description="folder below which the data files are; unset: `data` below the current folder")
    ] = None

    def read(self) -> Splits:
        raw = read_images(self.source, self.data_dir)
        train, test = Examples(raw.train_inputs, raw.train_targets), Examples(raw.test_inputs, raw.test_targets)
        return self.splits(train, test)

    def splits(self, train: Examples, test: Examples) -> Splits:
        """The four splits of what the files hold (pictures as bytes, classes from 0)."""
        made = Splits.made(train, test, valid_rows=self.valid_rows)
        return Splits(*(self.kept(part) for part in (made.train, made.train_eval, made.valid, made.test)))

    def kept(self, rows: Examples) -> Examples:
        """Rows of a split as they are kept in memory."""
        return rows

    def sample(self, rows: int) -> Examples:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (rows, *self.shape), generator=generator, dtype=torch.uint8)
        return self.kept(Examples(images, torch.randint(self.num_classes, (rows,), generator=generator)))

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{super().fingerprint()} {fingerprint(self.source, self.data_dir)}".encode()).hexdigest()
