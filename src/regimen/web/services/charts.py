"""Which metrics belong into one picture: those of one name, on whatever data they were measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from regimen.report.glossary import IMPORTANCE, meaning

_SPLITS = ("train", "train_eval", "valid", "test")


class Chart(NamedTuple):
    """Metrics that are drawn together."""

    name: str
    """Of the metric, without its split."""
    title: str
    unit: str
    keys: list[str]
    is_main: bool
    """A result or a loss; not a number about the machine or the method's inside."""


def charts_of(keys: Iterable[str]) -> list[Chart]:
    """The pictures of these metrics, results first."""
    grouped: dict[str, list[str]] = {}
    for key in sorted(keys, key=_split_rank):
        grouped.setdefault(_name(key), []).append(key)
    found = [_chart(name, members) for name, members in grouped.items()]
    return sorted(found, key=lambda chart: (not chart.is_main, _rank(chart.name), chart.name))


def importance(key: str) -> tuple[int, int, str]:
    """To sort metrics by: what tells most about a result comes first."""
    return _rank(_name(key)), _split_rank(key)[0], key


def _chart(name: str, keys: list[str]) -> Chart:
    known = meaning(keys[0])
    is_main = known.better != "neither" and not name.startswith("time/")
    title = f"{known.title} · {name.partition('/')[0].replace('_', ' ')}" if "/" in name else known.title
    return Chart(name, title, known.unit, keys, is_main)


def _name(key: str) -> str:
    split, _, name = key.partition("/")
    return name if split in _SPLITS and name else key


def _rank(name: str) -> int:
    return IMPORTANCE.index(name) if name in IMPORTANCE else len(IMPORTANCE)


def _split_rank(key: str) -> tuple[int, str]:
    split = key.partition("/")[0]
    return (_SPLITS.index(split) if split in _SPLITS else len(_SPLITS)), key
