"""Uploaded data files: kept by name in the home's `datasets` folder, looked at, checked row by row, shown as tokens.

A file is written beside the others under a hidden name and renamed when it is complete, so that no half of one is ever
seen. What is in a file is told by the helper; an answer is kept for as long as size and time of the file are the same.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from regimen.errors import DiskFull, Problem, RecordError
from regimen.records.reader import Record
from regimen.registry import Plugin
from regimen.web.admission import admit
from regimen.web.home import Home
from regimen.web.refusal import Refusal, not_found
from regimen.web.services.parts import Parts
from regimen.web.services.plugins import described

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")
"""What may be uploaded. Compressed files may not: nobody knows how large they become."""
MOST_BYTES = 1 << 30
"""Of one upload."""
_LONGEST_NAME = 100
_PART = ".upload-"


class Dataset(NamedTuple):
    """A file, and what is in it."""

    name: str
    bytes: int
    changed_at: float
    """Seconds since 1970, UTC."""
    rows: int | None
    """None where it cannot be read."""
    columns: list[str]
    layouts: list[str]
    """Those that its columns fit; none where they have to be mapped."""
    problems: list[Problem]

    @property
    def path(self) -> str:
        """As settings name it."""
        return f"datasets/{self.name}"


# ------------------------------------------------------------------ keeping


def begin(home: Home, filename: str) -> Upload:
    """A place to write an upload to. Raises `Refusal` 422 for a name whose kind is not taken."""
    name = safe_name(filename)
    part = home.datasets / f"{_PART}{secrets.token_hex(8)}"
    return Upload(home, name, part, part.open("xb"))


class Upload:
    """One file on its way. `write` its pieces, then `keep` it; `drop` it otherwise."""

    def __init__(self, home: Home, name: str, part: Path, file: IO[bytes], most_bytes: int = MOST_BYTES) -> None:
        self.name, self.bytes, self.most_bytes = name, 0, most_bytes
        self._home, self._part, self._file = home, part, file

    def write(self, piece: bytes) -> None:
        """Raises `Refusal` 413 for more than is taken, `DiskFull` where there is no space."""
        self.bytes += len(piece)
        if self.bytes > self.most_bytes:
            text = f"is larger than {self.most_bytes / 1e6:,.0f} MB."
            raise Refusal(413, self.name, text, "Put it into the server's datasets/ folder, or give a part of it.")
        try:
            self._file.write(piece)
        except OSError as error:
            raise DiskFull(Problem(self.name, f"cannot be written: {error.strerror}.", "Free some space.")) from error

    def keep(self) -> str:
        """Gives it its name, or `name-2` and so on where that is taken, and returns it."""
        if not self.bytes:
            raise Refusal(422, self.name, "is empty.", "It must hold at least one row.")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        stem, suffix = Path(self.name).stem, Path(self.name).suffix
        number = 1
        while True:
            name = self.name if number == 1 else f"{stem}-{number}{suffix}"
            try:
                os.link(self._part, self._home.datasets / name)
            except FileExistsError:
                number += 1
                continue
            self._part.unlink()
            return name

    def drop(self) -> None:
        """Leaves nothing of one that was not kept."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def safe_name(filename: str) -> str:
    """The last part of a name, in letters, digits, `.`, `_` and `-`. Raises `Refusal` 422 for a kind not taken.

    >>> safe_name("../my data.JSONL")
    'my-data.jsonl'
    """
    last = re.split(r"[/\\]", filename)[-1]
    stem, dot, ending = last.rpartition(".")
    suffix = f"{dot}{ending}".lower()
    if suffix not in SUFFIXES:
        text = f"is of no kind that is taken; {', '.join(SUFFIXES)} are."
        raise Refusal(422, last[:_LONGEST_NAME] or "the file", text, "Save it as one of these.")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:_LONGEST_NAME].strip("-.")
    return (safe or "data") + suffix


def path_of(home: Home, name: str) -> Path:
    """The file of a data set. Raises `Refusal` 404; no way leads out of the folder, nor does a link."""
    path = home.datasets / name
    good = "/" not in name and "\x00" not in name and not name.startswith(".") and len(name.encode()) < 256
    if not good or path.suffix.lower() not in SUFFIXES or not path.is_file() or not home.may_read(path):
        raise not_found("data set", name)
    return path


def delete(parts: Parts, name: str) -> None:
    """Raises `Refusal` 409 while a run that waits or trains needs it."""
    path = path_of(parts.home, name)
    for row in parts.queue.rows():
        if row.state == "ended":
            continue
        with suppress(RecordError, KeyError):
            if f"datasets/{name}" in _texts(Record(row.folder).spec["resolved"]):
                raise Refusal(409, name, f"is needed by the run {row.id}.", "Stop it first.")
    path.unlink()


# ------------------------------------------------------------------ looking


def listed(parts: Parts) -> list[Dataset]:
    """All of them, by name. One that was never looked at is read now."""
    there = sorted(path for path in parts.home.datasets.iterdir() if _is_listed(parts.home, path))
    return _looked_at(parts, there)


def get(parts: Parts, name: str) -> Dataset:
    """One of them. Raises `Refusal` 404."""
    return _looked_at(parts, [path_of(parts.home, name)])[0]


def rows(parts: Parts, name: str, offset: int, limit: int) -> dict[str, Any]:
    """Rows as they are; see `helper.looking.rows`. Raises `DataError` for a file that cannot be read."""
    path_of(parts.home, name)
    answer: dict[str, Any] = parts.helper.ask("rows", file=f"datasets/{name}", offset=offset, limit=limit)
    return answer


def validate(parts: Parts, name: str, columns: Mapping[str, str], strategy: Plugin | None) -> dict[str, Any]:
    """Every row checked, for the layouts that a strategy trains; see `helper.looking.validate`."""
    path_of(parts.home, name)
    layouts = described(parts, strategy)["layouts"] if strategy else []
    answer: dict[str, Any] = parts.helper.ask(
        "validate", file=f"datasets/{name}", columns=dict(columns), layouts=layouts
    )
    return answer


def preview(
    parts: Parts, name: str, task: Mapping[str, Any], strategy: Mapping[str, Any], *, offset: int, limit: int
) -> dict[str, Any]:
    """Tokens of some rows as a run on this file would train them; see `helper.previewing.preview`.

    All rows are train here: a run of its own may split some off. Raises what a run's settings and data raise.
    """
    path_of(parts.home, name)
    given = dict(task.get("data") or {}) if isinstance(task.get("data"), Mapping) else {}
    data = {key: value for key, value in given.items() if key == "columns"}
    data |= {"train": f"datasets/{name}", "eval_split": 0.0}
    settings = {"task": {"name": "text", **task, "data": data}, "strategy": dict(strategy)}
    return preview_run(parts, settings, "train", offset=offset, limit=limit)


def preview_run(parts: Parts, settings: Mapping[str, Any], split: str, *, offset: int, limit: int) -> dict[str, Any]:
    """The same of any run's own rows: of `sorting`, or of a text task with a split of its own."""
    admit(settings, parts.home)
    answer: dict[str, Any] = parts.helper.ask(
        "preview", settings=dict(settings), split=split, offset=offset, limit=limit
    )
    return answer


def _is_listed(home: Home, path: Path) -> bool:
    try:
        return path_of(home, path.name) == path
    except Refusal:
        return False


def _looked_at(parts: Parts, paths: list[Path]) -> list[Dataset]:
    known = _remembered(parts.home)
    stamps = {path.name: [(stat := path.stat()).st_size, stat.st_mtime_ns] for path in paths}
    new = [name for name, stamp in stamps.items() if known.get(name, {}).get("stamp") != stamp]
    if new:
        answer = parts.helper.ask("look", files=[f"datasets/{name}" for name in new])["files"]
        known = _remembered(parts.home)
        known |= {name: {**answer[f"datasets/{name}"], "stamp": stamps[name]} for name in new}
        _remember(parts.home, known)
    return [_dataset(name, stamp, known[name]) for name, stamp in stamps.items()]


def _dataset(name: str, stamp: list[int], found: Mapping[str, Any]) -> Dataset:
    problems = [Problem(**problem) for problem in found["problems"]]
    return Dataset(name, stamp[0], stamp[1] / 1e9, found["rows"], found["columns"], found["layouts"], problems)


def _remembered(home: Home) -> dict[str, dict[str, Any]]:
    """A cache: it can be deleted at any time."""
    try:
        found: dict[str, dict[str, Any]] = json.loads((home.own / "datasets.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _remember(home: Home, known: Mapping[str, Any]) -> None:
    there = {name: found for name, found in known.items() if (home.datasets / name).exists()}
    part = home.own / f".datasets-{secrets.token_hex(4)}.json"
    part.write_text(json.dumps(there), encoding="utf-8")
    part.replace(home.own / "datasets.json")


def _texts(value: Any) -> set[str]:
    """All texts in settings."""
    if isinstance(value, str):
        return {value}
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return {text for one in inner for text in _texts(one)}
