"""Downloads one file over HTTP: into a `.part` file that a later call goes on with, renamed once it is checked."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from regimen.errors import RegimenError
from regimen.records.writer import disk_full_named

Told = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are there, and all of them where the server says so."""

TRIES = 20
"""How often a mirror is asked for what is still missing; a try that brings nothing new is the last one."""
_TIMEOUT_S = 30.0
"""Of silence."""
_CHUNK = 1 << 18
_NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)
"""urllib's errors are OSErrors; ValueError is a malformed address or header."""


class DownloadFailed(Exception):
    """No mirror gave the whole file; one reason a mirror."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("; ".join(reasons))


def download(urls: Sequence[str], target: Path, why_wrong: Callable[[Path], str | None], tell: Told) -> None:
    """Puts the file at `target`. `why_wrong` looks at the whole file and says why it is not the right one, or None.

    A broken connection leaves `<target>.part`, which the next attempt goes on with. Raises `DownloadFailed` and
    `DiskFull`.
    """
    part = target.with_name(target.name + ".part")
    reasons = []
    for url in urls:
        reason = _from_mirror(url, part, why_wrong, tell)
        if reason is None:
            part.replace(target)
            return
        reasons.append(f"{url}: {reason}")
    raise DownloadFailed(reasons)


def _from_mirror(url: str, part: Path, why_wrong: Callable[[Path], str | None], tell: Told) -> str | None:
    """The whole file in `part`, or the reason why not."""
    reason: str | None = None
    for _ in range(TRIES):
        before = _length(part)
        try:
            complete = _transfer(url, part, tell)
        except RegimenError:
            raise  # the disk is full, which is an OSError too
        except urllib.error.HTTPError as error:
            return f"the server answered {error.code} {error.reason}"
        except _NETWORK_ERRORS as error:
            complete, reason = False, _said(error)
        if complete:
            reason = why_wrong(part)
            if reason is None:
                return None
            part.unlink()
            if not before:
                return reason  # all of it came from here, and it will be the same again
        elif _length(part) <= before:
            return reason or f"the connection broke after {_length(part):,} bytes"
    return reason or f"the connection broke {TRIES} times"


def _transfer(url: str, part: Path, tell: Told) -> bool:
    """Appends what is missing; whether the file is complete now."""
    start = _length(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "regimen"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        # An opener of its own: `urlopen` keeps the first one, and with it the proxies of that moment.
        response = urllib.request.build_opener().open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing lies beyond what is there; whether it is right is checked next
        raise
    with response:
        if start and response.status != http.client.PARTIAL_CONTENT:
            start = 0  # the server sends all of it again
        length = response.headers["Content-Length"]
        total = start + int(length) if length is not None else None
        with disk_full_named(part, total), part.open("ab" if start else "wb") as file:
            _copy(response, file, lambda there: tell(part.name.removesuffix(".part"), there, total), start)
    return total is None or _length(part) == total


def _copy(response: IO[bytes], file: IO[bytes], tell: Callable[[int], None], start: int) -> None:
    tell(start)
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        start += len(chunk)
        tell(start)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _said(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason) or type(error).__name__
