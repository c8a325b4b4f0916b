"""What people write on a run: tags and a note, in `tags.json` of its folder. They are no part of what was computed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from regimen.errors import Problem, SpecError
from regimen.records.writer import write_json

TAGS_FILE = "tags.json"
MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 20, 40, 10_000
"""Tags of a run; characters of a tag, and of the note."""


class Tags(NamedTuple):
    tags: tuple[str, ...] = ()
    note: str = ""


def read_tags(folder: Path) -> Tags:
    """None where nobody wrote any, or where the file was damaged: it holds nothing that a run needs."""
    try:
        body = json.loads((folder / TAGS_FILE).read_bytes())
        return Tags(tuple(map(str, body["tags"])), str(body["note"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Tags()


def write_tags(folder: Path, tags: Iterable[str], note: str) -> Tags:
    """Replaces both. Raises `SpecError` for a tag that is empty or too long, or for too many."""
    said = tuple(dict.fromkeys(" ".join(tag.split()) for tag in tags))
    problems = [
        Problem("tags", f"holds {tag[:60]!r}.", f"A tag has 1 to {LONGEST_TAG} characters and no comma.")
        for tag in said
        if not 0 < len(tag) <= LONGEST_TAG or "," in tag
    ]
    if len(said) > MOST_TAGS:
        problems.append(Problem("tags", f"are {len(said)}.", f"A run has {MOST_TAGS} at most."))
    if len(note) > LONGEST_NOTE:
        problems.append(Problem("note", f"has {len(note):,} characters.", f"It may have {LONGEST_NOTE:,}."))
    if problems:
        raise SpecError(problems)
    write_json(folder / TAGS_FILE, {"tags": list(said), "note": note})
    return Tags(said, note)
