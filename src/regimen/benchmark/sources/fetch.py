"""Fetches a data source into the data folder: what is missing or broken is downloaded, checked, and unpacked."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from pathlib import Path
from typing import NamedTuple

from regimen.benchmark.sources.contents import read_content
from regimen.benchmark.sources.download import DownloadFailed, Told, download
from regimen.benchmark.sources.locate import find, locate
from regimen.benchmark.sources.source import DataFile, Download, Source
from regimen.benchmark.sources.texts import whole_text
from regimen.errors import DataError, DiskFull, Problem, RegimenError, ResourceError
from regimen.records.writer import disk_full_named


class Fetched(NamedTuple):
    """Where a source lies now, and whether it did so before."""

    folder: Path
    was_there: bool


def fetch(source: Source, data_dir: Path, tell: Told) -> Fetched:
    """Makes sure that a source is below `data_dir`, every file checked.

    Raises `DataError` for a source that cannot be downloaded, `ResourceError` without a network, saying which files to
    put where, `DiskFull`.
    """
    found = find(source, data_dir)
    if found is not None and not any(
        _why_wrong(path, file, source) for path, file in zip(found.files, found.layout.files, strict=False)
    ):
        return Fetched(found.folder, was_there=True)
    if not source.downloads:
        return Fetched(locate(source, data_dir).folder, was_there=True)
    home = _made(data_dir / source.home)
    missing = [each for each in source.downloads if not _is_there(each, source, home)]
    _check_space(home, sum(each.size * (2 if each.archive_checksum else 1) for each in missing))
    try:
        for each in missing:
            _get(each, source, home, tell)
    except DownloadFailed as failed:
        raise ResourceError(_by_hand(failed, missing, home)) from failed
    return Fetched(locate(source, data_dir).folder, was_there=False)


def _made(home: Path) -> Path:
    """The folder, there and writable."""
    try:
        with disk_full_named(home):
            home.mkdir(parents=True, exist_ok=True)
        if os.access(home, os.W_OK):
            return home
        reason = "Permission denied"
    except RegimenError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
    raise DataError(Problem(str(home), f"cannot be written to: {reason}.", "Give another folder with --data-dir."))


def _is_there(each: Download, source: Source, home: Path) -> bool:
    for file in _files(each, source):
        path = next((path for path in _spellings(home, file) if path.is_file()), None)
        if path is None or _why_wrong(path, file, source):
            return False
    return True


def _spellings(home: Path, file: DataFile) -> list[Path]:
    return [home / (name + ending) for ending in ("", ".gz") for name in file.names]


def _files(each: Download, source: Source) -> tuple[DataFile, ...]:
    """The data files that a download brings: all that an archive holds, or the one of that name."""
    files = source.layouts[0].files
    if each.archive_checksum:
        return files
    return tuple(file for file in files if each.name.removesuffix(".gz") in file.names)


def _get(each: Download, source: Source, home: Path, tell: Told) -> None:
    if not each.archive_checksum:
        (file,) = _files(each, source)
        target = home / each.name
        download(each.urls, target, lambda path: _why_wrong(path, file, source), tell)
        spellings = _spellings(home, file)
        for path in spellings[: spellings.index(target)]:
            if path.exists():
                path.replace(path.with_name(path.name + ".broken"))  # it would be read before the one that came
        return
    archive = home / each.name
    if not archive.exists() or _md5(archive) != each.archive_checksum:
        download(each.urls, archive, lambda path: _why_wrong_archive(path, each), tell)
    _unpack(archive, source, home)
    archive.unlink()


def _unpack(archive: Path, source: Source, home: Path) -> None:
    """Writes the data files of an archive, and nothing else of it, whatever folders it names."""
    wanted = {file.names[0]: file for file in source.layouts[0].files}
    with disk_full_named(home), tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            file = wanted.get(Path(member.name).name)
            content = tar.extractfile(member) if file and member.isfile() else None
            if file is None or content is None:
                continue
            target = home / file.names[0]
            part = target.with_name(target.name + ".part")
            with part.open("wb") as opened:
                shutil.copyfileobj(content, opened, 1 << 20)
            read_content(part, file, source)
            part.replace(target)


def _why_wrong(path: Path, file: DataFile, source: Source) -> str | None:
    """Why a file is not the catalogue's, or None."""
    try:
        content = read_content(path, file, source)
        if source.layouts[0].format == "text":
            whole_text(content)  # no checksum: a page that says "not found" must not pass
    except DataError as error:
        return f"what came {error.problems[0].message.rstrip('.')}"
    return None


def _why_wrong_archive(path: Path, each: Download) -> str | None:
    md5 = _md5(path)
    return None if md5 == each.archive_checksum else f"what came has the MD5 {md5}, expected {each.archive_checksum}"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _check_space(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if free < needed:
        message = f"{needed / 1e6:,.0f} MB are needed, and {free / 1e6:,.0f} MB are free."
        raise DiskFull(Problem(str(home), message, "Free some space, or give another --data-dir."))


def _by_hand(failed: DownloadFailed, missing: list[Download], home: Path) -> Problem:
    """What to do without a network: which files from where into which folder."""
    files = ", ".join(each.urls[0] for each in missing)
    them = "it" if len(missing) == 1 else "them"
    unpack = ", and run this again to unpack it" if any(each.archive_checksum for each in missing) else ""
    return Problem(
        str(home),
        f"could not be filled. {failed}.",
        f"With a network, run it again: it goes on where it was. Without one, download {files} elsewhere, put "
        f"{them} into {home}{unpack}.",
    )
