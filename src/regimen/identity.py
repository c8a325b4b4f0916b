"""How a run is named: an id that sorts by time, a hash of what is computed, and a folder that says what was set."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regimen.spec import UNIDENTIFYING, RunSpec, differing, identifying

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LONGEST_PART = 100
"""Characters of one folder name; file systems allow 255 bytes, and people read less."""


def new_id() -> str:
    """26 characters, random, sorting by time (a ULID): 48 bits of milliseconds, then 80 of randomness."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def content_hash(resolved: Mapping[str, Any], data: str, code: str) -> str:
    """Hash of what is computed: settings (without output, logging, checkpoint cadence), seed, data, the strategy's
    source.
    """
    body = json.dumps([identifying(resolved), data, code], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(body.encode()).hexdigest()


def run_folder(spec: RunSpec, when: time.struct_time | None = None) -> Path:
    """`runs/<task>/<strategy>/<settings that differ>/seed__<s>__<timestamp>`, not there yet."""
    said = {
        key: value for key, value in differing(spec).items() if key.partition(".")[0] in ("task", "strategy", "budget")
    }
    words = [
        f"{key.partition('.')[2] or key}__{_shown(value)}"
        for key, value in sorted(said.items())
        if key not in ("task", "strategy", *UNIDENTIFYING) and value is not None
    ]
    part = _short(_safe("__".join(words)) or "defaults")
    stamp = time.strftime("%Y-%m-%d-%H-%M-%S", when or time.gmtime())
    above = spec.output / _safe(spec.task.name) / _safe(spec.strategy.name) / part
    for attempt in range(1, 10_000):
        folder = above / (f"seed__{spec.seed}__{stamp}" + (f"-{attempt}" if attempt > 1 else ""))
        if not folder.exists():
            return folder
    raise FileExistsError(f"{above} holds 10,000 runs of this second")


def _shown(value: object) -> str:
    """A value as part of a folder name; numbers in DeepOBS' way: 0.01 is `1e-02`.

    >>> _shown(0.01), _shown(0.0), _shown("runs/a.jsonl"), _shown(3)
    ('1e-02', '0', 'a.jsonl', '3')
    """
    if isinstance(value, list | tuple):
        return "-".join(map(_shown, value))
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:.10e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        return "0" if value == 0 else f"{mantissa}e{exponent}"
    return Path(value).name if isinstance(value, str) else str(value)


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+=-]+", "-", text).strip("-.")


def _short(text: str) -> str:
    if len(text) <= _LONGEST_PART:
        return text
    return f"{text[: _LONGEST_PART - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
