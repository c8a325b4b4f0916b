"""Reads the idx format of MNIST: two zero bytes, a type, the number of dimensions, each as 4 bytes big-endian, data."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regimen.benchmark.sources.arrays import Labelled
from regimen.benchmark.sources.contents import Content

_BYTES = 0x08
"""The type code of unsigned bytes, the only one that these sources use."""


def read_idx(parts: Sequence[Content]) -> Labelled:
    """Pictures (N, height, width) in the first file, labels (N,) in the second. Raises `DataError`."""
    images, labels = parts
    pixels_NHW, labels_N = _array(images, 3), _array(labels, 1)
    if len(pixels_NHW) != len(labels_N):
        raise labels.wrong(f"has {len(labels_N):,} labels for the {len(pixels_NHW):,} pictures of {images.path.name}.")
    return Labelled(pixels_NHW[:, None], labels_N.astype(np.int64))


def _array(content: Content, dimensions: int) -> NDArray[np.uint8]:
    data, header = content.data, 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes((0, 0, _BYTES, dimensions)):
        expected = bytes((0, 0, _BYTES, dimensions)).hex(" ")
        raise content.wrong(
            f"is no idx file of {dimensions} dimensions: it begins with {data[:4].hex(' ')}, expected {expected}."
        )
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    size = header + int(np.prod(shape, dtype=np.int64))
    if len(data) != size:
        state = "cut short" if len(data) < size else "longer than it says"
        raise content.wrong(f"is {state}: its header tells of {size:,} bytes, and it has {len(data):,}.")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
