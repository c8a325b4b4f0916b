"""Tensors into a safetensors file, past the system's page cache where the file system allows it.

A checkpoint is written to be read after a crash, if ever. Through the page cache every byte is copied into memory that
the system has to find first, flushed from there, and what the cache held before is gone. Written directly, 87 MB cost a
third of the CPU time and less than half of the wall time (docs/performance.md). The hash is of the bytes in memory,
so that a verification compares what is on the disk with what was meant to be there.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

_DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.uint16: "U16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint64: "U64",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""Names of the safetensors format."""

_BLOCK = 4096
"""Direct writes start and end at multiples of it, in memory as on the disk."""
_BUFFER = 4 << 20


class Written(NamedTuple):
    """What a manifest says of a file."""

    bytes: int
    sha256: str


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> Written:
    """Writes contiguous tensors on the CPU as a new safetensors file and flushes it to the disk. Raises `OSError`, and
    `TypeError` for a type that the format has not.
    """
    described: dict[str, Any] = {}
    size = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise TypeError(f"a safetensors file holds no {tensor.dtype}")
        offsets = [size, size := size + tensor.nbytes]
        described[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    header = json.dumps(described).encode()
    header += b" " * (-len(header) % 8)
    begin = memoryview(len(header).to_bytes(8, "little") + header)
    return write_bytes(path, [begin, *(_bytes_of(tensor) for tensor in tensors.values())])


def write_bytes(path: Path, parts: list[memoryview]) -> Written:
    """Writes the parts behind each other as a new file and flushes it to the disk. Raises `OSError`."""
    size = sum(len(part) for part in parts)
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    if size < _BUFFER or not _written_directly(path, parts, size):
        _write(path, parts, size)
    return Written(size, digest.hexdigest())


def _written_directly(path: Path, parts: list[memoryview], size: int) -> bool:
    """False where the system or the file system knows no such writes; what is there then is to be overwritten."""
    if not hasattr(os, "O_DIRECT"):
        return False
    try:
        _write(path, _blocks(parts), size, os.O_DIRECT)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def _write(path: Path, parts: Iterable[memoryview], size: int, flag: int = 0) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flag, 0o666)
    try:
        for part in parts:
            written = 0
            while written < len(part):
                written += os.write(file, part[written:])
        os.ftruncate(file, size)
        os.fsync(file)
    finally:
        os.close(file)


def _blocks(parts: list[memoryview]) -> Iterator[memoryview]:
    """The same bytes and up to a block more, in one aligned buffer after the other."""
    buffer, filled = memoryview(mmap.mmap(-1, _BUFFER)), 0
    for part in parts:
        taken = 0
        while taken < len(part):
            count = min(_BUFFER - filled, len(part) - taken)
            buffer[filled : filled + count] = part[taken : taken + count]
            filled, taken = filled + count, taken + count
            if filled == _BUFFER:
                yield buffer
                filled = 0
    yield buffer[: -(-filled // _BLOCK) * _BLOCK]


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    # Through bytes, since NumPy has no bfloat16.
    array: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array)
