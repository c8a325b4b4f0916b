"""Puts a run into the queue: the folder first, then the row."""

from __future__ import annotations

import time
from pathlib import Path

from regimen.errors import Problem, Refused
from regimen.identity import content_hash, new_id, run_folder
from regimen.prepared import Prepared
from regimen.records.reader import Record, load
from regimen.records.writer import RecordWriter


def queued(prepared: Prepared) -> Record:
    """Writes the folder of a run that is to be trained later. Raises `Refused` where preflight found an error."""
    if prepared.errors:
        raise Refused(prepared.errors)
    folder, identity = run_folder(prepared.spec).absolute(), prepared.identity
    resolved = prepared.spec.model_dump(mode="json")
    writer = RecordWriter(folder, new_id())
    try:
        writer.write_spec(
            prepared.document.data,
            resolved,
            content=content_hash(resolved, identity["data"], identity["code"]),
            data=identity["data"],
            code=identity["code"],
            folder=str(Path.cwd()),
        )
        writer.status("queued", queued=slot(prepared.spec.device), queued_at=time.time())
    finally:
        writer.close()
    return Record(folder)


def queued_again(folder: Path) -> Record:
    """Marks a run that was stopped, killed or refused as waiting. Raises `Refused` for one that has completed."""
    record = load(folder)
    if record.status in ("completed", "running", "queued"):
        text = {"completed": "has completed", "running": "is running", "queued": "waits in the queue already"}
        raise Refused(Problem(record.id, f"{text[record.status]}.", "Clone it to train it again."))
    writer = RecordWriter(folder, record.id)
    try:
        device = slot(record.settings.get("device", "auto"))
        writer.status("queued", queued=device, queued_at=time.time(), deaths=0)
    finally:
        writer.close()
    return Record(folder)


def slot(device: str) -> str:
    """What a run needs to itself: `auto` and `cuda` are the first GPU where there is one, else the CPU."""
    if device in ("auto", "cuda"):
        return "cuda:0" if has_gpu() else "cpu"
    return device


def has_gpu() -> bool:
    """Without importing PyTorch, and without touching a GPU: a process that has touched one cannot be forked."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
