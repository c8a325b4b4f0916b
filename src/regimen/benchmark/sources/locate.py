"""Finds the files of a source below a folder, however people have named and placed them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from regimen.benchmark.sources.source import DataFile, Layout, Source
from regimen.errors import DataError, Problem

DEFAULT_FOLDER = Path("data")
"""Where data are looked for and fetched to where nothing is set: below the current folder."""


class Found(NamedTuple):
    """Where all files of one layout are."""

    layout: Layout
    folder: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        return self.train + self.test


def data_folder(setting: Path | str | None) -> Path:
    """The data folder that a setting means; `data` below the current folder where it is unset."""
    return Path(setting).expanduser() if setting else DEFAULT_FOLDER


def find(source: Source, data_dir: Path) -> Found | None:
    """The first folder that holds all files of one of the source's layouts, or None."""
    for layout, folder in _candidates(source, data_dir):
        if layout.format == "pictures":
            if (folder / "train").is_dir() and (folder / "val").is_dir():
                return Found(layout, folder, (folder / "train",), (folder / "val",))
            continue
        train, test = (tuple(_present(folder, files)) for files in (layout.train, layout.test))
        if len(train) == len(layout.train) and len(test) == len(layout.test):
            return Found(layout, folder, train, test)
    return None


def locate(source: Source, data_dir: Path) -> Found:
    """Like `find`. Raises `DataError` that says what is missing where, and how to get it."""
    found = find(source, data_dir)
    if found is None:
        raise DataError(Problem(str(data_dir), _missing(source, data_dir), how_to_get(source, data_dir)))
    return found


def how_to_get(source: Source, data_dir: Path) -> str:
    """The end of a message about data that are not there."""
    if source.by_hand:
        return f"It cannot be downloaded by a program: {source.by_hand}, below {data_dir / source.home}."
    where = "" if data_dir == DEFAULT_FOLDER else f" --data-dir {data_dir}"
    return f"Run `regimen data fetch {source.name}{where}`, or set task.data_dir to the folder that has it."


def _candidates(source: Source, data_dir: Path) -> Iterator[tuple[Layout, Path]]:
    for layout in source.layouts:
        for folder in layout.folders:
            if (data_dir / folder).is_dir():
                yield layout, data_dir / folder


def _present(folder: Path, files: tuple[DataFile, ...]) -> Iterator[Path]:
    """Of each file the spelling that is there; what is not compressed first, being faster to read."""
    for file in files:
        spellings = [folder / (name + ending) for ending in ("", ".gz") for name in file.names]
        there = next((path for path in spellings if path.is_file()), None)
        if there is not None:
            yield there


def _missing(source: Source, data_dir: Path) -> str:
    if not data_dir.is_dir():
        default = " (where data are looked for unless task.data_dir is set)" if data_dir == DEFAULT_FOLDER else ""
        return f"there is no such folder{default}; {source.title} is looked for in it."
    layout, folder = max(
        _candidates(source, data_dir),
        key=lambda each: len(list(_present(each[1], each[0].files))),
        default=(source.layouts[0], data_dir / source.home),
    )
    there = len(list(_present(folder, layout.files)))
    if not there:
        wanted = ", ".join(file.names[0] for file in layout.files) or "train/<wnid>/*.JPEG, val/<wnid>/*.JPEG"
        return f"holds no {source.title}: looked for {wanted} in it and in {source.home} and the like below it."
    gone = ", ".join(file.names[0] for file in layout.files if not list(_present(folder, (file,))))
    return f"{folder} has {there} of the {len(layout.files)} files of {source.title}; missing: {gone}."
