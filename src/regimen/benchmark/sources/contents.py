"""The content of a data file, unpacked and checked against the catalogue."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import NamedTuple

from regimen.benchmark.sources.catalogue import SOURCES
from regimen.benchmark.sources.source import DataFile, Source
from regimen.errors import DataError, Problem

_GZIP = b"\x1f\x8b"


class Content(NamedTuple):
    """A file and what it holds, after gunzip."""

    path: Path
    data: bytes
    source: Source

    def wrong(self, message: str) -> DataError:
        """The error for a content that is not what its format says."""
        return DataError(Problem(str(self.path), message, again(self.source)))


def again(source: Source) -> str:
    """What to do about a file that cannot be used."""
    return f"Delete it and get it again: `regimen data fetch {source.name}`."


def read_content(path: Path, file: DataFile, source: Source) -> Content:
    """Reads, unpacks and checks size and MD5, where the catalogue has them. Raises `DataError`."""
    content = Content(path, b"", source)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(Problem(str(path), f"cannot be read: {error.strerror}.", "")) from error
    if data.startswith(_GZIP):
        data = _unpacked(data, content)
    elif path.suffix == ".gz":
        raise content.wrong(f"is not gzip data: it begins with {data[:4].hex(' ') or 'nothing'}, expected 1f 8b.")
    content = content._replace(data=data)
    _check(content, file)
    return content


def _unpacked(data: bytes, content: Content) -> bytes:
    try:
        return gzip.decompress(data)
    except EOFError as error:
        raise content.wrong(f"is cut short: its gzip data do not end after {len(data):,} bytes.") from error
    except (OSError, zlib.error) as error:
        raise content.wrong(f"is damaged: it cannot be unpacked ({error}).") from error


def _check(content: Content, file: DataFile) -> None:
    length = len(content.data)
    if file.size is not None and length < file.size:
        raise content.wrong(f"is cut short: it holds {length:,} bytes, expected {file.size:,}.")
    if file.checksum is None:
        return
    md5 = hashlib.md5(content.data, usedforsecurity=False).hexdigest()
    if md5 == file.checksum:
        return
    other = _known(md5)
    if other is not None:
        fix = f"Set task.data_dir to a folder with {content.source.title}, each data set in a folder of its own."
        raise DataError(Problem(str(content.path), f"is of {other.title}, not of {content.source.title}.", fix))
    raise content.wrong(
        f"is not {content.source.title}'s, or damaged: the MD5 of its content is {md5}, expected {file.checksum}."
    )


def _known(md5: str) -> Source | None:
    """The source that has a file of this content."""
    for source in SOURCES.values():
        if any(file.checksum == md5 for layout in source.layouts for file in layout.files):
            return source
    return None
