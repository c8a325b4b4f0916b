"""Pictures in folders by class, decoded when they are asked for: ImageNet does not fit into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regimen.benchmark.examples import Examples
from regimen.benchmark.sources.catalogue import find_source
from regimen.benchmark.sources.locate import data_folder, locate
from regimen.benchmark.sources.source import Source
from regimen.errors import DataError, MissingExtra, Problem

_ENDINGS = (".jpeg", ".jpg", ".png")


class Pictures:
    """Rows of picture files; a tensor of row numbers gives them decoded, (B, 3, size, size) as uint8.

    The shorter side is resized to `shorter_side` pixels (bilinear), then the middle is cut out.
    """

    def __init__(self, paths: list[Path], size: int, shorter_side: int) -> None:
        self.paths, self.size, self.shorter_side = paths, size, shorter_side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Tensor) -> Tensor:
        batch = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        for place, row in enumerate(rows.tolist()):
            batch[place] = decoded(self.paths[row], self.size, self.shorter_side)
        return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()


def open_folder(
    data_dir: Path | str | None = None, size: int = 224, shorter_side: int | None = None
) -> tuple[Examples, Examples]:
    """ImageNet's pictures to train on and to test on (its validation set), from `train/<wnid>/*` and `val/<wnid>/*`.

    Targets are 0 to 999 in the order of the sorted class names. `shorter_side` is 256 unless given, and 8/7 of `size`
    where that is more, so that 299 is cut out of 342. Raises `DataError` where classes or pictures are missing,
    `MissingExtra` without Pillow.
    """
    return open_source(find_source("imagenet"), data_folder(data_dir), size, shorter_side)


def open_source(
    source: Source, data_dir: Path, size: int, shorter_side: int | None = None
) -> tuple[Examples, Examples]:
    """Like `open_folder`, for a source that need not be in the catalogue."""
    side = shorter_side or max(256, round(size * 8 / 7) if size > 256 else 0)
    if side < size:
        raise ValueError(f"a square of {size} pixels cannot be cut out of a shorter side of {side}")
    found = locate(source, data_dir)
    _check_pillow(found.folder)
    classes = sorted(entry.name for entry in os.scandir(found.train[0]) if entry.is_dir())
    if len(classes) != source.num_classes:
        message = f"has {len(classes):,} folders of classes, {source.title} has {source.num_classes:,}."
        raise DataError(Problem(str(found.train[0]), message, f"Unpack all of it: {source.by_hand}."))
    train, test = (
        _examples(folder, classes, rows, source, size, side)
        for folder, rows in ((found.train[0], source.train_rows), (found.test[0], source.test_rows))
    )
    return train, test


def decoded(path: Path, size: int, shorter_side: int) -> NDArray[np.uint8]:
    """One picture as (size, size, 3). Raises `DataError` for a file that is none."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(Problem(str(path), f"cannot be decoded: {error}.", "Unpack it again.")) from error
    scale = shorter_side / min(picture.size)
    width, height = (max(shorter_side, round(scale * side)) for side in picture.size)
    left, top = (width - size) // 2, (height - size) // 2
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def _check_pillow(folder: Path) -> None:
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        fix = "pip install 'regimen-ml[bench]'"
        raise MissingExtra(Problem(str(folder), "reading pictures needs Pillow.", fix)) from error


def _examples(folder: Path, classes: list[str], rows: int, source: Source, size: int, side: int) -> Examples:
    foreign = {entry.name for entry in os.scandir(folder) if entry.is_dir()} - set(classes)
    if foreign:
        message = f"is a class that the pictures to train on do not have; {len(foreign)} such folders."
        raise DataError(Problem(str(folder / min(foreign)), message, "Both need the same class folders."))
    paths: list[Path] = []
    targets: list[int] = []
    for label, name in enumerate(classes):
        before = len(paths)
        paths += _files(folder / name)
        targets += [label] * (len(paths) - before)
    if len(paths) != rows:
        message = f"holds {len(paths):,} pictures below its class folders, {source.title} has {rows:,} here."
        raise DataError(Problem(str(folder), message, f"Unpack all of it: {source.by_hand}."))
    return Examples(Pictures(paths, size, side), torch.tensor(targets))


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
