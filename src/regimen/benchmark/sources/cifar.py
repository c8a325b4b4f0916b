"""Reads CIFAR-10 and CIFAR-100: the binary version, and the python version without executing its pickles.

A record of the binary version is its labels (CIFAR-10: one byte; CIFAR-100: coarse, then fine) and 3,072 bytes of
pixels: red, green, blue, row by row. A batch of the python version is a pickled dictionary with the same pixels.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regimen.benchmark.sources.arrays import Labelled
from regimen.benchmark.sources.contents import Content

_PIXELS = 3 * 32 * 32


def read_binary(parts: Sequence[Content]) -> Labelled:
    """Raises `DataError` where a file is no whole number of records."""
    return _joined([_records(content) for content in parts])


def read_pickled(parts: Sequence[Content]) -> Labelled:
    """Raises `DataError` for a pickle that holds anything but numbers, text and one array of bytes."""
    return _joined([_batch(content) for content in parts])


def _joined(batches: Sequence[Labelled]) -> Labelled:
    images, labels = zip(*batches, strict=True)
    return Labelled(np.concatenate(images), np.concatenate(labels))


def _records(content: Content) -> Labelled:
    num_labels = 2 if content.source.num_classes > 10 else 1
    length, width = len(content.data), num_labels + _PIXELS
    if not length or length % width:
        raise content.wrong(f"holds {length:,} bytes, expected whole records of {width:,} bytes.")
    records = np.frombuffer(content.data, np.uint8).reshape(-1, width)
    images = records[:, num_labels:].reshape(-1, 3, 32, 32)
    return Labelled(images, records[:, num_labels - 1].astype(np.int64))


# ------------------------------------------------------------------------------------------------ the python version


class _Kept:
    """What stands for an array or its type while a pickle is read: it keeps what it is given and does nothing."""

    def __init__(self, *given: Any) -> None:
        self.given = given
        self.state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.state = state


class _ArraysOnly(pickle.Unpickler):
    """Reads the pickle of an array without calling NumPy: no name in the file is ever imported."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in ("_reconstruct", "ndarray", "dtype"):
            return _Kept
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR file does")


def _batch(content: Content) -> Labelled:
    try:
        body = _ArraysOnly(io.BytesIO(content.data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle fails in any way
        raise content.wrong(f"cannot be read as a pickled batch: {error}.") from error
    if not isinstance(body, dict):
        raise content.wrong(f"holds a {type(body).__name__}, expected the dictionary of a CIFAR batch.")
    named = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in body.items()}
    labels = named.get("fine_labels", named.get("labels"))
    pixels = _pixels(named.get("data"))
    if pixels is None or not isinstance(labels, list) or len(labels) != len(pixels):
        raise content.wrong("is not a CIFAR batch: expected `data`, an array of bytes (N, 3072), and N `labels`.")
    if not all(type(label) is int for label in labels):
        raise content.wrong("holds labels that are no whole numbers.")
    return Labelled(pixels.reshape(-1, 3, 32, 32), np.array(labels, np.int64))


def _pixels(stored: object) -> NDArray[np.uint8] | None:
    """The array (N, 3072) that a pickle describes, or None where it is another one."""
    match stored:
        case _Kept(state=(_, (int(rows), 3072), _Kept(given=(b"u1" | "u1", *_)), fortran, bytes(data))):
            if len(data) != rows * _PIXELS:
                return None
            flat = np.frombuffer(data, np.uint8)
            return flat.reshape(_PIXELS, rows).T if fortran else flat.reshape(rows, _PIXELS)
    return None
