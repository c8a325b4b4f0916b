"""Reads running text as rows with one field, `text`: a paragraph, a line, or the whole file each."""

from __future__ import annotations

import hashlib
from array import array
from pathlib import Path
from typing import BinaryIO, Literal

from regimen.errors import DataError, Problem
from regimen.finetune.data.findings import Findings
from regimen.finetune.data.jsonl import BOM
from regimen.finetune.data.strictjson import MalformedError, utf8
from regimen.finetune.data.table import Place, Row, StoredRows

TextBlock = Literal["paragraph", "line", "file"]
DOCUMENT_END = b"<|endoftext|>"
"""A line that is only this separates documents, as in TinyStories; it is no part of any text."""


def _parse_block(raw: bytes) -> Row:
    text = raw.decode("utf-8").replace("\r\n", "\n")
    return {"text": text.replace(DOCUMENT_END.decode(), "").strip("\n")}


def read_text(path: Path, file: BinaryIO, block: TextBlock) -> StoredRows:
    """Blocks that are not blank. A paragraph ends at a blank line, and any block at a line of `<|endoftext|>`."""
    findings, digest = Findings(), hashlib.sha256()
    starts, lines = array("Q"), array("Q")
    byte, inside = 0, False
    file.seek(0)
    for number, raw in enumerate(file, start=1):
        digest.update(raw)
        line = raw.removeprefix(BOM) if number == 1 else raw
        try:
            utf8(line)
        except MalformedError as error:
            findings.add(Place(path, number), error.message, error.fix)
        if line.strip() == DOCUMENT_END or (block != "file" and not line.strip()):
            inside = False
        elif line.strip() and (not inside or block == "line"):
            starts.append(byte + len(raw) - len(line))
            lines.append(number)
            inside = True
        byte += len(raw)
    findings.raise_data_error()
    if not starts:
        raise DataError(Problem(str(path), "holds no text.", "It must hold at least one line that is not blank."))
    starts.append(byte)
    return StoredRows(path, file, starts, lines, _parse_block, ["text"], digest.hexdigest())
