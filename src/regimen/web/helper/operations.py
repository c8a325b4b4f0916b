"""What the helper can be asked. Each operation takes and returns JSON, and runs in a forked process of its own.

A new operation is a function here or in a module beside this one, with its name in `OPERATIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from regimen.document import Document
from regimen.identity import content_hash
from regimen.prepared import Prepared, prepare
from regimen.queue.enqueue import queued
from regimen.web.helper.describing import describe, form_schemas, pairings, run_schema
from regimen.web.helper.estimating import estimate
from regimen.web.helper.looking import look, rows, validate
from regimen.web.helper.modelnames import model_about
from regimen.web.helper.previewing import preview


def check(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and data looked at; nothing is written: findings, the task's own description, resolved settings."""
    prepared = prepare(Document(dict(settings)))
    return {
        "ready": not prepared.errors,
        "findings": [
            {
                "level": found.level,
                **found.problem._asdict(),
                "fix_settings": [change._asdict() for change in found.remedy],
            }
            for found in prepared.findings
        ],
        "task": prepared.task.describe(),
        "settings": prepared.spec.model_dump(mode="json"),
        "content": _content(prepared) if not prepared.errors else None,
    }


def enqueue(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the folder of a queued run."""
    record = queued(prepare(Document(dict(settings))))
    return {"id": record.id, "folder": str(record.folder), "device": record.state["queued"]}


def _content(prepared: Prepared) -> str:
    resolved = prepared.spec.model_dump(mode="json")
    return content_hash(resolved, prepared.identity["data"], prepared.identity["code"])


OPERATIONS: dict[str, Callable[..., dict[str, Any]]] = {
    operation.__name__: operation
    for operation in (
        check, enqueue, describe, pairings, run_schema, form_schemas, look, rows, validate, preview, estimate,
        model_about,
    )
}  # fmt: skip
