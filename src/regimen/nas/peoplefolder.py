"""Pictures of people in folders, one folder a person, read into memory: any face data set that is cut out and aligned.

    faces/ann/0.jpg  faces/ann/1.jpg  faces/bob/0.png  ...

CASIA-WebFace, VGGFace2 and LFW come so, or can be unpacked so. Pillow decodes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from regimen.errors import DataError, MissingExtra, Problem

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_MOST_GB = 8.0


class People(NamedTuple):
    """Pictures of people."""

    pictures: Tensor
    """(N, C, size, size), bytes; C is 3, or 1 for grey."""
    people: Tensor
    """(N,), numbers from 0 in the order of the names."""
    names: tuple[str, ...]


def read_people(
    folder: Path, size: int, *, grey: bool = False, least: int = 2, most: int | None = None, people: int | None = None
) -> People:
    """Reads the first `people` folders (by name) with `least` pictures or more, and at most `most` pictures of each.

    The middle square of a picture is cut out and resized to `size` points. Raises `DataError` for a folder that is not
    there, holds no such people, holds a file that is no picture, or would take more than 8 GB; `MissingExtra` without
    Pillow.
    """
    found = _files(folder, least, most)[:people]
    if not found:
        text = f"holds no folder with {least} pictures or more ({', '.join(ENDINGS)})."
        raise DataError(Problem(str(folder), text, "Give a folder with one folder a person."))
    number = sum(len(files) for _, files in found)
    size_gb = 4e-9 * number * (1 if grey else 3) * size**2
    if size_gb > _MOST_GB:
        text = f"has {number:,} pictures, which take {size_gb:.1f} GB as numbers; up to {_MOST_GB:g} GB are read."
        raise DataError(Problem(str(folder), text, "Read fewer people, fewer pictures of each, or smaller ones."))
    pictures = [_decoded(path, size, grey) for _, files in found for path in files]
    numbers = np.repeat(np.arange(len(found)), [len(files) for _, files in found])
    stacked = torch.from_numpy(np.stack(pictures))
    return People(stacked.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(numbers), tuple(name for name, _ in found))


def _files(folder: Path, least: int, most: int | None) -> list[tuple[str, list[Path]]]:
    if not folder.is_dir():
        raise DataError(Problem(str(folder), "is no folder.", "Give a folder with one folder a person."))
    people = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    files = [(p.name, sorted(f for f in p.iterdir() if f.suffix.lower() in ENDINGS)[:most]) for p in people]
    return [(name, of_person) for name, of_person in files if len(of_person) >= least]


def _decoded(path: Path, size: int, grey: bool) -> NDArray[np.uint8]:
    """(size, size, C)."""
    try:
        from PIL import Image
    except ImportError as error:
        fix = "pip install 'regimen-ml[nas]'"
        raise MissingExtra(Problem(str(path), "reading pictures needs Pillow.", fix)) from error
    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if grey else "RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(Problem(str(path), f"cannot be decoded: {error}.", "Remove it, or unpack it again.")) from error
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    cut = picture.crop((left, top, left + side, top + side))  # first: a resize of a part looks at its surroundings
    return np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, -1)
