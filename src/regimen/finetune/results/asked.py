"""How a trained model is to be asked, kept beside it: in turns of a chat, or as bare text, whatever its template says.

A tokenizer brings a chat template along also where the rows had none of it: prompts with answers, or plain text.
"""

from __future__ import annotations

import json
from pathlib import Path

from regimen.records.writer import replace_file

FILE = "asked.json"


def write_asked(folder: Path, *, chat: bool) -> None:
    """Keeps it in the model's folder, so that it goes along with an export."""
    replace_file(folder / FILE, (json.dumps({"chat": chat}) + "\n").encode())


def is_asked_as_chat(folder: Path) -> bool:
    """Whether a prompt is a turn of a chat: as was kept; where nothing was, whether there is a template."""
    if not _has_template(folder):
        return False
    try:
        return bool(json.loads((folder / FILE).read_bytes())["chat"])
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        return bool(json.loads((folder / "tokenizer_config.json").read_bytes()).get("chat_template"))
    except (OSError, ValueError, AttributeError):
        return False
