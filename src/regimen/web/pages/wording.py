"""How the page says things: numbers, times, settings, and what a report has already put into words."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

from regimen.readable import ago, duration, moment, number

STATUS_WORDS = {
    "queued": "waiting",
    "running": "running",
    "completed": "completed",
    "stopped": "stopped",
    "diverged": "diverged",
    "refused": "refused",
    "failed": "failed",
    "lost": "lost",
}


def value(found: object) -> str:
    """A setting as it would be written.

    >>> value(True), value(0.0), value(None), value(""), value([1, 2])
    ('true', '0', 'null', '""', '[1, 2]')
    """
    if isinstance(found, bool) or found is None:
        return json.dumps(found)
    if isinstance(found, float):
        return number(found, 6) if math.isfinite(found) else repr(found)
    if isinstance(found, str):
        return found or '""'
    return json.dumps(found, ensure_ascii=False)


def metric(found: float | None) -> str:
    return "–" if found is None else number(found)


def since(at: float | None) -> str:
    return "" if at is None else ago(at, time.time())


def percent(fraction: float | None) -> str:
    """
    >>> percent(0.999), percent(1.0), percent(None)
    ('99%', '100%', '')
    """
    return "" if fraction is None else f"{math.floor(100 * fraction)}%"


def size(num_bytes: float) -> str:
    """
    >>> size(900), size(1.5e6), size(2.34e9)
    ('900 B', '1.5 MB', '2.3 GB')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:.1f} {unit}"
    return f"{num_bytes:.0f} B"


def flat(settings: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Settings as dotted paths.

    >>> list(flat({"a": {"b": 1, "c": {}}, "d": 0}))
    [('a.b', 1), ('a.c', {}), ('d', 0)]
    """
    if isinstance(settings, Mapping) and settings:
        for key, inner in settings.items():
            yield from flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, settings


def as_html(fragment: str) -> Markup:
    """What `regimen.report` wrote: HTML already, and escaped where it quotes."""
    return Markup(fragment)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "value": value,
    "metric": metric,
    "since": since,
    "percent": percent,
    "size": size,
    "moment": moment,
    "duration": duration,
    "as_html": as_html,
    "status_word": lambda status: STATUS_WORDS.get(status, status),
}
"""Of the templates."""
