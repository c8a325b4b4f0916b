"""Data sets of labelled pictures that fit into memory, whatever format their files have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from regimen.benchmark.sources.arrays import Labelled
from regimen.benchmark.sources.catalogue import find_source
from regimen.benchmark.sources.cifar import read_binary, read_pickled
from regimen.benchmark.sources.contents import Content, again, read_content
from regimen.benchmark.sources.idx import read_idx
from regimen.benchmark.sources.locate import data_folder, locate
from regimen.benchmark.sources.source import DataFile, Format, Source
from regimen.benchmark.sources.svhn import read_svhn
from regimen.errors import DataError, Problem

_READERS: dict[Format, Callable[[Sequence[Content]], Labelled]] = {
    "idx": read_idx,
    "cifar-binary": read_binary,
    "cifar-pickled": read_pickled,
    "svhn": read_svhn,
}


class Raw(NamedTuple):
    """A data set as its files have it."""

    train_inputs: Tensor
    """(N, C, H, W), uint8"""
    train_targets: Tensor
    """(N,), int64, from 0"""
    test_inputs: Tensor
    test_targets: Tensor


def read_images(name: str, data_dir: Path | str | None = None) -> Raw:
    """The pictures of mnist, fmnist, cifar10, cifar100 or svhn, checked against the published checksums and counts.

    `data_dir` is the folder below which the files are (unset: `data` below the current folder); the catalogue says
    which places and spellings are known. Raises `DataError` that names the file and what to do, `SpecError` for an
    unknown name, `MissingExtra` without SciPy for svhn.
    """
    return read_source(find_source(name), data_folder(data_dir))


def read_source(source: Source, data_dir: Path) -> Raw:
    """Like `read_images`, for a source that need not be in the catalogue."""
    found = locate(source, data_dir)
    read = _READERS[found.layout.format]

    def part(paths: Sequence[Path], files: Sequence[DataFile], rows: int) -> tuple[Tensor, Tensor]:
        contents = [read_content(path, file, source) for path, file in zip(paths, files, strict=True)]
        labelled = read(contents)
        _check(labelled, source, paths, rows)
        return torch.from_numpy(np.require(labelled.images, requirements=["C", "W"])), torch.from_numpy(labelled.labels)

    train = part(found.train, found.layout.train, source.train_rows)
    return Raw(*train, *part(found.test, found.layout.test, source.test_rows))


def _check(labelled: Labelled, source: Source, paths: Sequence[Path], rows: int) -> None:
    """Raises `DataError` for another number or size of pictures, or a label outside of the classes."""
    num, *shape = labelled.images.shape
    wrong = ""
    if num != rows:
        wrong = f"hold {num:,} pictures, {source.title} has {rows:,} here"
    elif tuple(shape) != source.shape:
        wrong = f"hold pictures of {shape}, those of {source.title} are {list(source.shape)} (channels, height, width)"
    elif not 0 <= (highest := int(labelled.labels.max())) < source.num_classes:
        wrong = f"have a label {highest}, those of {source.title} are 0 to {source.num_classes - 1}"
    if wrong:
        place = ", ".join(map(str, paths))
        raise DataError(Problem(place, f"{wrong}.", again(source)))
