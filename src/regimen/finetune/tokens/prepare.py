"""Tokenizes all rows of a data set in bounded memory into a file that training maps, and reports what was dropped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import datasets
import pyarrow as pa

from regimen.errors import DataError, Problem, Refused
from regimen.finetune.data.arrowfile import arrow_file
from regimen.finetune.data.canonical import Canonical
from regimen.finetune.data.convert import convert
from regimen.finetune.data.findings import Findings
from regimen.finetune.data.layouts import Layout, find_layout
from regimen.finetune.data.rows import as_rows
from regimen.finetune.data.table import Row, Rows
from regimen.finetune.data.turns import Faults
from regimen.finetune.tokens.encoder import Encoder
from regimen.finetune.tokens.outcome import ANSWER_CUT, TOO_LONG, Dropped, Kept, Unusable
from regimen.finetune.tokens.tokenreport import Tally, TokenReport

BATCH = 512
"""Rows a call of the tokenizer; more is not faster, and takes more memory."""
_IDS = pa.list_(pa.int32())
_SCHEMAS = {
    "preference": {"prompt_ids": _IDS, "chosen_ids": _IDS, "rejected_ids": _IDS},
    "unpaired_preference": {"prompt_ids": _IDS, "completion_ids": _IDS, "label": pa.bool_()},
}
_SUPERVISED = {"input_ids": _IDS, "labels": _IDS}


class Prepared(NamedTuple):
    """Tokenized rows and the report.

    `dataset` has `row`, the index of the row each came from, beside the ids: `input_ids` and `labels`; `prompt_ids`,
    `chosen_ids` and `rejected_ids`; or `prompt_ids`, `completion_ids` and `label`.
    """

    dataset: datasets.Dataset
    report: TokenReport


def prepare(
    data: Rows | Sequence[Row],
    encoder: Encoder,
    *,
    layout: Layout | None = None,
    columns: Mapping[str, str] | None = None,
    cache_dir: Path | None = None,
) -> Prepared:
    """Tokenize `data`: rows that were read, a `datasets.Dataset`, or a list of dicts, in any known layout.

    With a `cache_dir` the ids are written there, whatever their number, and mapped; without, they stay in memory.
    Raises `DataError` for rows with wrong fields, and `Refused` when a row cannot be rendered, when `overlength` is
    "refuse" and a row is too long, or when no row is left; each lists the rows by file and line.
    """
    rows = as_rows(data)
    layout = layout or find_layout(rows, columns)
    schema = pa.schema([*_SCHEMAS.get(layout.name, _SUPERVISED).items(), ("row", pa.int64())])
    if cache_dir is None:
        memory = pa.BufferOutputStream()
        report = _write(rows, layout, encoder, memory, schema)
        table = pa.ipc.open_stream(memory.getvalue()).read_all()
        return Prepared(datasets.Dataset(datasets.table.InMemoryTable(table)), report)
    path = cache_dir / f"tokens-{_digest(rows, layout, encoder)}.arrow"
    with arrow_file(path) as sink:
        report = _write(rows, layout, encoder, sink, schema)
    return Prepared(datasets.Dataset.from_file(str(path)), report)


def _digest(rows: Rows, layout: Layout, encoder: Encoder) -> str:
    """What the tokens depend on, as part of a file's name."""
    settings = encoder.settings
    parts = [rows.fingerprint, layout.name, dict(layout.columns), encoder.template_hash, len(encoder.tokenizer)]
    text = json.dumps([*parts, settings.max_length, settings.loss_on, settings.overlength])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(rows: Rows, layout: Layout, encoder: Encoder, sink: pa.NativeFile, schema: pa.Schema) -> TokenReport:
    tally, wrong, refused = Tally(), Findings(), Findings()
    with pa.ipc.new_stream(sink, schema) as writer:
        batch: list[Canonical] = []
        indices: list[int] = []
        for index, row in enumerate(rows):
            faults = Faults()
            made = convert(row, layout, faults)
            for fault in faults.errors:
                wrong.add(rows.place(index), f"{fault.field} {fault.message}", fault.fix)
            if not faults.errors:
                batch.append(made)
                indices.append(index)
            if len(batch) == BATCH:
                _write_batch(rows, batch, indices, encoder, tally, refused, writer, schema)
                batch, indices = [], []
        _write_batch(rows, batch, indices, encoder, tally, refused, writer, schema)
    if wrong.count:
        raise DataError(wrong.listed())
    refused.raise_refused()
    report = tally.finished()
    _refuse_nothing_left(rows, report)
    return report


def _write_batch(
    rows: Rows,
    batch: list[Canonical],
    indices: list[int],
    encoder: Encoder,
    tally: Tally,
    refused: Findings,
    writer: pa.ipc.RecordBatchStreamWriter,
    schema: pa.Schema,
) -> None:
    written: dict[str, list[object]] = {name: [] for name in schema.names}
    for index, outcome in zip(indices, encoder.encode(batch), strict=True):
        if isinstance(outcome, Unusable):
            refused.add(rows.place(index), outcome.message, outcome.fix)
        elif isinstance(outcome, Dropped):
            tally.dropped(outcome, lambda index=index: rows.place(index))  # type: ignore[misc]
            if encoder.settings.overlength == "refuse" and outcome.reason == TOO_LONG:
                message = f"has {outcome.length:,} tokens, and max_length is {encoder.settings.max_length:,}."
                refused.add(rows.place(index), message, "Raise max_length, or set overlength: truncate or drop.")
        elif isinstance(outcome, Kept):
            tally.kept(outcome, lambda index=index: rows.place(index))  # type: ignore[misc]
            for name, value in outcome.tokens.items():
                written[name].append(value)
            written["row"].append(index)
    if written["row"]:
        writer.write_batch(pa.record_batch(written, schema=schema))


def _refuse_nothing_left(rows: Rows, report: TokenReport) -> None:
    if report.kept:
        return
    reasons = "; ".join(f"{reason}: {counted.rows:,}" for reason, counted in report.dropped.items())
    too_long = any(reason in report.dropped for reason in (TOO_LONG, ANSWER_CUT))
    fix = f"The longest row has {report.longest_dropped:,} tokens: raise max_length." if too_long else "Check loss_on."
    raise Refused(Problem(rows.source, f"all {report.rows:,} rows were dropped ({reasons}).", fix))
