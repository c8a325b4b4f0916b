"""Makes a `datasets.Dataset` of the rows with the columns they came with, for the hooks that users write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import datasets
import pyarrow as pa

from regimen.finetune.data.arrowfile import arrow_file
from regimen.finetune.data.table import Row, Rows

_BATCH = 1000
_INT64 = range(-(2**63), 2**63)


def to_dataset(rows: Rows, cache_dir: Path, columns: Iterable[str] | None = None) -> datasets.Dataset:
    """All rows (or some columns of them), written to `cache_dir` in batches and mapped from there.

    A column whose values are all text, all true or false, all whole numbers or all numbers has that type; any other
    (lists of turns, mixed values) is kept as JSON and read back as it was. A field that a row lacks is None.
    """
    names = list(rows.columns if columns is None else columns)
    features = datasets.Features(_kinds(rows, names))
    path = cache_dir / f"rows-{rows.fingerprint[:16]}.arrow"
    schema: pa.Schema = features.arrow_schema
    with arrow_file(path) as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in _batches(rows):
            writer.write_batch(pa.record_batch([_column(batch, field) for field in schema], schema=schema))
    return datasets.Dataset.from_file(str(path))


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    left = iter(rows)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _column(batch: list[Row], field: pa.Field) -> pa.Array:
    values = [row.get(field.name) for row in batch]
    if not isinstance(field.type, pa.JsonType):
        return pa.array(values, field.type)
    written = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in values]
    return pa.ExtensionArray.from_storage(field.type, pa.array(written, field.type.storage_type))


def _kinds(rows: Rows, names: list[str]) -> dict[str, object]:
    seen: dict[str, set[str]] = {name: set() for name in names}
    for row in rows:
        for name in names:
            seen[name].add(_kind(row.get(name)))
    return {name: _feature(kinds - {"null"}) for name, kinds in seen.items()}


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        return "json"
    return {str: "string", bool: "bool", int: "int64", float: "float64"}.get(type(value), "json")


def _feature(kinds: set[str]) -> object:
    if kinds == {"int64", "float64"}:
        return datasets.Value("float64")
    if not kinds:
        return datasets.Value("string")
    return datasets.Value(next(iter(kinds))) if len(kinds) == 1 and "json" not in kinds else datasets.Json()
