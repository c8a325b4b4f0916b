"""Which data a run was made on, as one hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from regimen.benchmark.sources.catalogue import find_source
from regimen.benchmark.sources.locate import Found, data_folder, locate


def fingerprint(name: str, data_dir: Path | str | None = None) -> str:
    """SHA-256 over the files of a source: another one as soon as a byte of them changes.

    Of pictures in folders (ImageNet, 150 GB) only names and sizes are taken in. Raises `DataError` where the files are
    not there, `SpecError` for an unknown name.
    """
    found = locate(find_source(name), data_folder(data_dir))
    digest = hashlib.sha256(found.layout.format.encode())
    if found.layout.format == "pictures":
        _take_names(found, digest)
        return digest.hexdigest()
    for path in found.files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _take_names(found: Found, digest: hashlib._Hash) -> None:
    for folder in found.files:
        for path in sorted(folder.glob("*/*")):
            digest.update(f"{path.relative_to(found.folder)} {path.stat().st_size}\n".encode())
