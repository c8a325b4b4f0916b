"""Opens data by name: a file of any format that is read here, a folder of them, or a data set of the Hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from regimen.errors import DataError, MissingExtra, Problem, did_you_mean
from regimen.finetune.data.csvfile import read_csv
from regimen.finetune.data.datafile import open_data
from regimen.finetune.data.findings import Findings
from regimen.finetune.data.jsonarray import read_json
from regimen.finetune.data.jsonl import BOM, LONGEST_LINE, read_jsonl
from regimen.finetune.data.plaintext import TextBlock, read_text
from regimen.finetune.data.table import JoinedRows, ListedRows, Place, Row, Rows

__all__ = ["SUFFIXES", "Place", "Row", "Rows", "as_rows", "read_rows"]

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")
"""The formats; each may also end in `.gz`."""
_CODE = (".py", ".pyc", ".so", ".pkl", ".pickle", ".ipynb")


def read_rows(
    source: str | Path, *, revision: str | None = None, split: str = "train", text_block: TextBlock = "paragraph"
) -> Rows:
    """The rows of a file, of a folder's files in order of their names, or of `org/name[@revision]` on the Hub.

    Every row is read and checked once here; afterwards the rows are parsed on demand. `revision` and `split` belong to
    the Hub, `text_block` to `.txt`. Raises `DataError` that lists what cannot be read, each with its file and line.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(path, text_block)
    if path.exists():
        return _read_file(path, text_block)
    if _format(path) is None and _is_hub_name(str(source)):
        return _read_hub(str(source), revision, split)
    raise DataError(Problem(str(source), "does not exist.", _nearby(path)))


def as_rows(data: Rows | Sequence[Row], source: str = "dataset") -> Rows:
    """`Rows` as they are; a list of dicts or a `datasets.Dataset` with places like `dataset row 17`."""
    if isinstance(data, Rows):
        return data
    columns: Sequence[str] | None = getattr(data, "column_names", None)
    return ListedRows(data, source, columns)


def _format(path: Path) -> str | None:
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return suffix.lower() if suffix.lower() in SUFFIXES else None


def _read_file(path: Path, text_block: TextBlock) -> Rows:
    kind = _format(path)
    if not path.is_file():
        raise DataError(Problem(str(path), "is not a regular file.", "Give a file, a folder, or a name of the Hub."))
    if kind is None:
        known = ", ".join(SUFFIXES)
        raise DataError(
            Problem(
                str(path),
                f"has no known data format ({path.suffix or 'no suffix'}).",
                f"Known: {known}, also with .gz.",
            )
        )
    return _read_format(kind, path, open_data(path), text_block)


def _read_format(kind: str, path: Path, file: BinaryIO, text_block: TextBlock) -> Rows:
    if kind in (".jsonl", ".json"):
        return read_json(path, file) if kind == ".json" or _is_list(file) else read_jsonl(path, file)
    if kind in (".csv", ".tsv"):
        return read_csv(path, file, "," if kind == ".csv" else "\t")
    if kind == ".txt":
        return read_text(path, file, text_block)
    try:
        from regimen.finetune.data.parquetfile import ParquetRows
    except ImportError:
        raise MissingExtra(Problem(str(path), "reading Parquet needs pyarrow.", "Install regimen-ml[llm].")) from None
    return ParquetRows(path, file)


def _is_list(file: BinaryIO) -> bool:
    """Whether a `.jsonl` is one JSON list, as some published files are, and not a list a line."""
    first = file.readline(LONGEST_LINE).removeprefix(BOM).strip()
    more = file.read(4096).strip()
    file.seek(0)
    if not first.startswith(b"[") or not more:
        return first.startswith(b"[")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return True
    return False


def _read_folder(folder: Path, text_block: TextBlock) -> Rows:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path, folder)]
    code = [path for path in files if path.suffix in _CODE]
    findings = Findings()
    for path in code:
        findings.add(path, "is code inside a data folder; code in data is never run.", "Move it out of the folder.")
    findings.raise_data_error()
    data = [path for path in files if _format(path)]
    tables = [path for path in data if _format(path) != ".txt"]
    if not data:
        raise DataError(Problem(str(folder), "holds no data file.", f"It must hold {', '.join(SUFFIXES)} files."))
    parts: list[Rows] = []
    for path in tables or data:
        try:
            parts.append(_read_file(path, text_block))
        except DataError as error:
            for problem in error.problems:
                findings.add(*problem)
    findings.raise_data_error()
    return JoinedRows(parts, str(folder)) if len(parts) > 1 else parts[0]


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)


def _is_hub_name(source: str) -> bool:
    parts = source.split("@", 1)[0].split("/")
    return len(parts) == 2 and all(part and part[0].isalnum() for part in parts)


def _read_hub(source: str, revision: str | None, split: str) -> Rows:
    try:
        from regimen.finetune.data.hub import read_hub
    except ImportError:
        message = "is no file here, and reading from the Hub needs the datasets package."
        raise MissingExtra(Problem(source, message, "Install regimen-ml[llm].")) from None
    return read_hub(source, revision, split)


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either."
    names = [entry.name for entry in path.parent.iterdir() if _format(entry)]
    return did_you_mean(path.name, names) if names else f"There is no data file in {path.parent}."
