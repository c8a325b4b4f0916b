"""Opens a data file: decompresses `.gz` to a temporary file, and says what a file is that only looks like data."""

from __future__ import annotations

import errno
import gzip
import os
import tempfile
import zlib
from pathlib import Path
from typing import BinaryIO

from regimen.errors import DataError, DiskFull, Problem

_MAGIC: list[tuple[bytes, str, str]] = [
    (b"\x1f\x8b", "is compressed with gzip", "Give it a name that ends in .gz."),
    (b"PK\x03\x04", "is a zip archive (or a spreadsheet)", "Unpack it, or save the sheet as CSV."),
    (b"PAR1", "is a Parquet file", "Give it a name that ends in .parquet."),
    (b"\xff\xfe", "is text in UTF-16", "Save it as UTF-8."),
    (b"\xfe\xff", "is text in UTF-16", "Save it as UTF-8."),
    (b"BZh", "is compressed with bzip2", "Decompress it, or use gzip."),
    (b"\xfd7zXZ", "is compressed with xz", "Decompress it, or use gzip."),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "Decompress it, or use gzip."),
    (b"ARROW1", "is an Arrow file", "Save it as Parquet."),
    (b"\x80\x04\x95", "is a Python pickle, which could run code", "Save it as JSONL."),
    (b"\x80\x05\x95", "is a Python pickle, which could run code", "Save it as JSONL."),
    (b"%PDF", "is a PDF", "Extract its text first."),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the data", "Run `git lfs pull` to get the file itself."),
    (b"<!doctype html", "is a web page, not the data", "Download the file itself (the raw link)."),
    (b"<html", "is a web page, not the data", "Download the file itself (the raw link)."),
]


def open_data(path: Path) -> BinaryIO:
    """A binary file with a descriptor, at its start; `.gz` is decompressed into a temporary file that has no name.

    Raises `DataError` for what cannot be opened, is empty, or is of another kind than its name says.
    """
    try:
        file: BinaryIO = _decompressed(path) if path.suffix == ".gz" else path.open("rb")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        reason = "ends in the middle of the compressed data" if isinstance(error, EOFError) else f"is not gzip: {error}"
        raise DataError(Problem(str(path), reason + ".", "Download or compress it again.")) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(
                Problem(str(path), f"no space in {tempfile.gettempdir()} to decompress it.", _ROOM)
            ) from None
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            Problem(str(path), f"cannot be read: {reason}.", "Check the path and its permissions.")
        ) from None
    _refuse_other_kinds(path, file)
    return file


_ROOM = "Free some space, or point TMPDIR to a larger disk."


def _decompressed(path: Path) -> BinaryIO:
    spool = tempfile.TemporaryFile()  # noqa: SIM115  (the caller reads rows from it as long as they live)
    with gzip.open(path, "rb") as packed:
        while block := packed.read(1 << 20):
            spool.write(block)
    spool.flush()
    spool.seek(0)
    return spool


def _refuse_other_kinds(path: Path, file: BinaryIO) -> None:
    head = os.pread(file.fileno(), 64, 0)
    if not head.strip():
        raise DataError(Problem(str(path), "is empty.", "It must hold at least one row."))
    if path.name.endswith((".parquet", ".parquet.gz")):
        return
    lowered = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, what, fix in _MAGIC:
        if head.startswith(magic) or lowered.startswith(magic.lower()):
            raise DataError(Problem(str(path), f"{what}.", fix))
