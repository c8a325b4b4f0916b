"""Numbers, durations and times as people read them, for the command line and for reports."""

from __future__ import annotations

import math
import time


def number(value: float, digits: int = 4) -> str:
    """A metric with `digits` significant digits; counts and sizes as they are.

    >>> number(1.23456), number(0.00002), number(1234567.0), number(40), number(float("nan"))
    ('1.235', '2e-05', '1,234,567', '40', 'NaN')
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """The two largest units that matter.

    >>> duration(0.34), duration(9.44), duration(80), duration(3_700), duration(200_000)
    ('0.3s', '9.4s', '1m20s', '1h01m', '2d7h')
    """
    if not math.isfinite(seconds):
        return "?"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600}h"


def moment(at: float) -> str:
    """Seconds since 1970 as date and time, UTC.

    >>> moment(0.0)
    '1970-01-01 00:00 UTC'
    """
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def ago(at: float, now: float) -> str:
    """How long ago, in the largest unit.

    >>> ago(0.0, 30.0), ago(0.0, 4_000.0), ago(0.0, 200_000.0)
    ('just now', '1 h ago', '2 d ago')
    """
    passed = max(0.0, now - at)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if passed >= length:
            return f"{int(passed // length)} {unit} ago"
    return "just now"
