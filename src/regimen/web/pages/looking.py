"""What is found out about a run before it is started: findings with their fixes, memory, time, and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from regimen.errors import RegimenError
from regimen.web.services import datasets, estimates, runs
from regimen.web.services.parts import Parts

_ROWS = 3
"""Of the preview beside the form."""


class Looked(NamedTuple):
    """What a check tells."""

    ready: bool
    findings: list[dict[str, Any]]
    task: Mapping[str, Any]
    estimate: Mapping[str, Any] | None
    """None where it cannot be told."""
    preview: Mapping[str, Any] | None
    why_no_preview: str
    content: str | None

    @property
    def num_warnings(self) -> int:
        return sum(finding["level"] == "warning" for finding in self.findings)


def look(parts: Parts, settings: Mapping[str, Any]) -> Looked:
    """Checks settings and data, with nothing kept. Raises what the check raises."""
    with ThreadPoolExecutor(3) as threads:
        estimated = threads.submit(_told, lambda: estimates.estimate(parts, settings))
        shown = threads.submit(_told, lambda: datasets.preview_run(parts, settings, "train", offset=0, limit=_ROWS))
        checked = runs.check(parts, settings)
        estimate, _ = estimated.result()
        preview, why_not = shown.result()
    return Looked(
        checked["ready"],
        sorted(checked["findings"], key=lambda finding: ("error", "warning", "info").index(finding["level"])),
        checked["task"],
        estimate,
        preview,
        why_not,
        checked["content"],
    )


def _told(ask: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any] | None, str]:
    """An answer, or why there is none: the check says what is wrong with the settings."""
    try:
        return ask(), ""
    except RegimenError as error:
        return None, " ".join(problem.message for problem in error.problems)
