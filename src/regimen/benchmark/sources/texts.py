"""A long text, in a part to train on and a part to test on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from regimen.benchmark.sources.catalogue import find_source
from regimen.benchmark.sources.contents import Content, read_content
from regimen.benchmark.sources.locate import data_folder, locate

TRAINED = 0.8
"""The share of characters that are trained on; DeepOBS' tolstoi_preprocess takes the last fifth for testing."""
SHORTEST, LONGEST = 3_000_000, 3_400_000
"""Characters of War and Peace: its copies differ in headings and line breaks."""


class Text(NamedTuple):
    """One text, cut in two."""

    train: str
    test: str


def read_text(name: str, data_dir: Path | str | None = None) -> Text:
    """The text of tolstoi, with line breaks as `\\n` and without a byte order mark: the first four fifths and the rest.

    No checksum is published and copies differ (Karpathy's `warpeace_input.txt`, 82 characters in use; DeepOBS' cut of
    Project Gutenberg's, `input.txt`), so the length is checked. Raises `DataError`.
    """
    source = find_source(name)
    found = locate(source, data_folder(data_dir))
    text = whole_text(read_content(found.train[0], found.layout.train[0], source))
    cut = math.ceil(TRAINED * len(text))
    return Text(text[:cut], text[cut:])


def whole_text(content: Content) -> str:
    """The text of a file. Raises `DataError` for what is not UTF-8 or not as long as the book."""
    try:
        text = content.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise content.wrong(f"is not UTF-8 text: byte {error.start:,} is {content.data[error.start]:#x}.") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not SHORTEST <= len(text) <= LONGEST:
        size = f"{SHORTEST:,} to {LONGEST:,}"
        raise content.wrong(f"holds {len(text):,} characters, {content.source.title} has {size}.")
    return text
