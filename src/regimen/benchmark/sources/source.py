"""What is known of a data source: its files, where they lie on people's disks, where they come from, their counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Format = Literal["idx", "cifar-binary", "cifar-pickled", "svhn", "text", "pictures"]


class DataFile(NamedTuple):
    """One file of a source; with or without `.gz`."""

    names: tuple[str, ...]
    """How people spell it; the first is the usual one."""
    size: int | None
    """Of the content; None where copies differ."""
    checksum: str | None
    """MD5 of the content; None where none is published, and the structure alone is checked."""


class Download(NamedTuple):
    """One file to download: the data file itself or an archive of data files."""

    urls: tuple[str, ...]
    """Mirrors of the same file; the first that answers is taken."""
    name: str
    size: int
    """Of what is transferred; for estimates only."""
    archive_checksum: str | None = None
    """MD5 of an archive (.tar.gz); None for a data file, whose content is checked instead."""


@dataclass(frozen=True)
class Layout:
    """One way in which a source lies on a disk: a format, its files, and folders that hold all of them together."""

    format: Format
    folders: tuple[str, ...]
    """Below the data folder, in the order in which they are looked into."""
    train: tuple[DataFile, ...] = ()
    test: tuple[DataFile, ...] = ()

    @property
    def files(self) -> tuple[DataFile, ...]:
        return self.train + self.test


@dataclass(frozen=True)
class Source:
    """What is known of one data set."""

    name: str
    title: str
    layouts: tuple[Layout, ...]
    home: str
    """The folder below the data folder into which it is fetched; looked into first."""
    licence: str
    downloads: tuple[Download, ...] = ()
    by_hand: str = ""
    """Where it comes from when it cannot be downloaded by a program."""
    shape: tuple[int, int, int] = (0, 0, 0)
    """Channels, height, width of a picture in memory."""
    num_classes: int = 0
    train_rows: int = 0
    test_rows: int = 0

    @property
    def size(self) -> int:
        return sum(download.size for download in self.downloads)
