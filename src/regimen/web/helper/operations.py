"""What the helper can be asked. Each operation takes and returns JSON, and runs in a forked process of its own.

A new operation is a function here with its name in `OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from regimen.document import Document


def check(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and data looked at; nothing is written: findings, the task's own description, resolved settings."""
    from regimen.prepared import prepare

    prepared = prepare(Document(dict(settings), "settings"))
    return {
        "ready": not prepared.errors,
        "findings": [{"level": found.level, **found.problem._asdict()} for found in prepared.findings],
        "task": prepared.task.describe(),
        "settings": prepared.spec.model_dump(mode="json"),
        "content": _content(prepared) if not prepared.errors else None,
    }


def enqueue(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the folder of a queued run."""
    from regimen.prepared import prepare
    from regimen.queue.enqueue import queued

    record = queued(prepare(Document(dict(settings), "settings")))
    return {"id": record.id, "folder": str(record.folder), "device": record.state["queued"]}


def _content(prepared: Any) -> str:
    from regimen.identity import content_hash

    resolved = prepared.spec.model_dump(mode="json")
    return content_hash(resolved, prepared.identity["data"], prepared.identity["code"])


OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {"check": check, "enqueue": enqueue}
