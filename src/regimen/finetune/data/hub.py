"""Reads a data set of the Hugging Face Hub, by name and revision, through the `datasets` package."""

from __future__ import annotations

import re

import datasets

from regimen.errors import DataError, Problem
from regimen.finetune.data.table import ListedRows, Rows

HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w./-]+)?")


def read_hub(source: str, revision: str | None, split: str) -> Rows:
    """The rows of `org/name[@revision]`. Raises `DataError` when it cannot be had: offline, unknown, or private."""
    name, _, written = source.partition("@")
    revision = revision or written or None
    try:
        loaded = datasets.load_dataset(name, revision=revision, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"is no file or folder here, and the Hub did not give a data set of that name: {reason}"
        raise DataError(Problem(source, message, _FIX)) from None
    return ListedRows(loaded, source, loaded.column_names)


_FIX = (
    "Check the path; or, for the Hub, the name, the network and `hf auth login`. "
    "Offline, download it once elsewhere and give the path of its files."
)
