"""Which column of a file is which field of a layout, as choices for a form."""

from __future__ import annotations

import json
from typing import NamedTuple

from regimen.web.services.datasets import Dataset

FIELDS = (
    *("prompt", "completion", "instruction", "input", "output", "system", "messages", "conversations", "tools"),
    *("text", "chosen", "rejected", "label"),
)
"""Of all layouts."""


class Mapped(NamedTuple):
    """A file's columns."""

    path: str
    columns: list[tuple[str, str]]
    """Each with the field that it is said to be; empty: as it is named."""
    fits: list[str]
    """The layouts that it fits without a word."""
    fields: tuple[str, ...] = FIELDS

    @property
    def is_open(self) -> bool:
        """Whether somebody has to choose, or has."""
        return not self.fits or any(field for _, field in self.columns)


def mapped(dataset: Dataset, text: str) -> Mapped | None:
    """The columns with what `text`, the map as JSON, says of them. None where the text is no such map."""
    try:
        given = json.loads(text) if text.strip() else {}
    except ValueError:
        return None
    if not isinstance(given, dict) or not set(given) <= set(FIELDS) or not set(given.values()) <= set(dataset.columns):
        return None
    fields = {column: field for field, column in given.items()}
    return Mapped(dataset.path, [(column, fields.get(column, "")) for column in dataset.columns], dataset.layouts)
