"""What settings that come over HTTP may name: registered plug-ins and files of declared folders, never code or URLs.

The command line takes more: there, who asks can run programs anyway.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regimen.errors import Problem, SpecError
from regimen.web.home import Home

_CODE = re.compile(r"\.pyw?[\s]*(:|$)", re.IGNORECASE)
_IMPORT = re.compile(r"^\s*[^\W\d][\w.]*:[^\W\d][\w.]*\s*$")
_URL = re.compile(r"^\s*(file:|[a-z][a-z0-9+.-]*://)", re.IGNORECASE)
_FORBIDDEN = ("trust_remote_code", "remote_code")


def admit(settings: Mapping[str, Any], home: Home) -> None:
    """Raises `SpecError` with every setting that asks for more than a request may."""
    problems = list(_inadmissible(settings, home, ""))
    if problems:
        raise SpecError(problems)


def _inadmissible(value: object, home: Home, place: str) -> Iterator[Problem]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            here = f"{place}.{key}" if place else str(key)
            if key in _FORBIDDEN and inner:
                yield Problem(here, "code of a model is never run by the server.", "Remove it.")
            else:
                yield from _inadmissible(inner, home, here)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _inadmissible(inner, home, f"{place}[{number}]")
    elif isinstance(value, str):
        yield from _inadmissible_text(value, home, place)


def _inadmissible_text(text: str, home: Home, place: str) -> Iterator[Problem]:
    if "\x00" in text:
        yield Problem(place, "holds a NUL character.", "Remove it.")
    elif _CODE.search(text) or _IMPORT.match(text):
        fix = "Put the file into the server's strategies/ (tasks/, ...) folder and give its name."
        yield Problem(place, f"is {text!r}, a path to code; the server takes registered names only.", fix)
    elif _URL.match(text):
        yield Problem(place, f"is {text!r}, and the server fetches nothing.", "Upload the file and name it.")
    elif place == "output":
        if Path(text) != Path("runs"):
            yield Problem(place, f"is {text!r}; the server keeps all runs in runs.", "Remove it.")
    elif not _may_name(text, home):
        roots = ", ".join(str(root) for root in home.further)
        also = f" or one of {roots}" if roots else ""
        fix = f"Upload the file, or start the server with --root FOLDER (it has its start folder{also})."
        yield Problem(place, f"is {text!r}, which is outside of the folders that the server may read.", fix)


def _may_name(text: str, home: Home) -> bool:
    """A text that is no path is inside the home, whatever it says: nothing of that name is there."""
    try:
        return home.may_read(home.folder / Path(text).expanduser())
    except (OSError, RuntimeError, ValueError):  # too long for a path, an unknown user's home: no path
        return not text.startswith(("/", "~"))
