"""Reads SVHN's cropped digits: MATLAB 5 files with pictures `X` (32, 32, 3, N) and labels `y`, where 10 means 0."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from regimen.benchmark.sources.arrays import Labelled
from regimen.benchmark.sources.contents import Content
from regimen.errors import MissingExtra, Problem


def read_svhn(parts: Sequence[Content]) -> Labelled:
    """Raises `DataError` for another content, `MissingExtra` without SciPy."""
    (content,) = parts
    try:
        from scipy.io import loadmat
    except ImportError as error:
        fix = "pip install 'regimen-ml[bench]'"
        raise MissingExtra(Problem(str(content.path), "reading MATLAB files needs scipy.", fix)) from error
    try:
        body = loadmat(io.BytesIO(content.data), variable_names=["X", "y"])
    except Exception as error:  # SciPy fails in any way on a damaged file
        raise content.wrong(f"cannot be read as a MATLAB 5 file: {error}.") from error
    pixels, labels = body.get("X"), body.get("y")
    if pixels is None or labels is None:
        raise content.wrong("has no X and y, the pictures and labels of SVHN.")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or labels.size != pixels.shape[3]:
        shapes = f"X {pixels.shape} of {pixels.dtype}, y {labels.shape}"
        raise content.wrong(f"holds {shapes}; expected X (height, width, 3, N) of uint8 and N labels.")
    flat = labels.reshape(-1).astype(np.int64)
    if flat.min(initial=1) < 1:
        raise content.wrong("has a label below 1; SVHN's are 1 to 10.")
    return Labelled(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), flat % 10)
